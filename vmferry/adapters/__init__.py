"""The outside: libvirt, ssh, the journal's database, the embedded Prefect server, and the simulated fleet."""
