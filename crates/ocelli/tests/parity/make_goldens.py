"""Makes the goldens again, all of them or those whose names contain one of the words given.

make parity
.venv-parity/bin/python crates/ocelli/tests/parity/make_goldens.py transformers-vit timm
"""

import importlib
import sys

FAMILIES = ("builtin", "transformers", "timm", "torchvision", "forms", "keras")


def main():
    words = sys.argv[1:]

    def wanted(name):
        return not words or any(word in name for word in words)

    for family in FAMILIES:
        if not words or any(word.startswith(family) for word in words):
            importlib.import_module(f"cases_{family}").make(wanted)


if __name__ == "__main__":
    main()
