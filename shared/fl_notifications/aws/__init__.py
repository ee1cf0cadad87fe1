"""How AWS is called: clients, batches and errors."""
