"""Instances of Kherbache's thesis: mVM's plans, its scalability instances and 2,000 measured migrations."""
