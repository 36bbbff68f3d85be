"""One module for each sub-command. A module here imports what is heavy only when its command runs."""
