"""The layer: the domain of the notification service and its adapters to AWS."""
