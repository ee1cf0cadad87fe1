"""How deliveries end: the outcome, the ledger, and the event bus."""
