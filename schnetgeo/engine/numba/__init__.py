"""Programs on the CPU: tables of instructions that one compiled interpreter runs."""
