# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The `dims-hf` command: thin wrappers around the library, one file per subcommand."""
