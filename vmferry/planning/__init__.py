"""Pure decisions on one snapshot: mode, placement, order, window, settlement, and the independent replay."""
