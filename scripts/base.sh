#!/bin/bash
# Print which series it is that all scripts work on: 7.3 or 6.12.
. "$(dirname "$0")/lib.sh"

base_tree
echo "$BASE"
