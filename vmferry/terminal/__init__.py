"""What the command line shows and how it ends; nothing here moves a VM."""
