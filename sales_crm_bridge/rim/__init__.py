"""The parts of the HTTP rim, one concern each; ``crm_http`` puts them together and is the only way in."""
