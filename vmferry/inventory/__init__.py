"""The inventory file: read with line numbers, checked whole, compared with what the hosts say."""

from vmferry.inventory.compare import check_inventory
from vmferry.inventory.load import load_inventory
from vmferry.inventory.notes import inventory_notes

__all__ = ["check_inventory", "inventory_notes", "load_inventory"]
