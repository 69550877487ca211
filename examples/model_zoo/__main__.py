"""`python -m examples.model_zoo` lists the models; `python -m examples.model_zoo NAME ...` fetches some."""

from __future__ import annotations

import sys

from examples.model_zoo import MODELS, FetchError, fetch


def main(names: list[str]) -> int:
    if not names:
        print("\n".join(f"{name:20} {model.about} ({model.licence})" for name, model in MODELS.items()))
    for name in names:
        try:
            print("\n".join(map(str, fetch(name).values())))
        except FetchError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
