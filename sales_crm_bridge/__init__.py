"""Keep a Sales domain's leads in an external CRM: pull and push them, and say what happened, as facts of one kind."""
