"""The main job in one process: a HubSpot, a Kafka, a ledger, people, and the bridge between them."""
