"""Makes the goldens again, all of them or those whose names contain one of the words given.

make parity
.venv-parity/bin/python crates/ocelli/tests/parity/make_goldens.py transformers-vit timm
"""

import importlib
import sys

# What the names of cases begin with, and the modules that make them.
FAMILIES = {
    "builtin": ("builtin",),
    "transformers": ("transformers", "transformers_architectures"),
    "timm": ("timm", "timm_architectures"),
    "torchvision": ("torchvision",),
    "forms": ("forms",),
    "keras": ("keras",),
}


def main():
    words = sys.argv[1:]

    def wanted(name):
        return not words or any(word in name for word in words)

    for family, modules in FAMILIES.items():
        if not words or any(word.startswith(family) for word in words):
            for module in modules:
                importlib.import_module(f"cases_{module}").make(wanted)


if __name__ == "__main__":
    main()
