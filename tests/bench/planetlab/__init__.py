"""PlanetLab, ten days: CloudSim's 800 hosts and the measures of Beloglazov and Buyya, with vmferry's own planning."""
