"""Record and replay: what a run was told by its CRM and by the domain, kept in a bundle, and lived through again offline."""
