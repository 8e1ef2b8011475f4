"""Its being here puts this folder on the path, so that the examples share company.py and clients.py."""
