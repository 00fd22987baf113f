"""The milestone report again: its table 5 and figures 1 to 5 beside ours."""
