"""What a Prefect server should hold for vmferry, and what is to be changed there; pure."""
