"""How the stages of a scan run on this machine."""
