"""`python -m fastft`, so that torchrun can start it with `-m fastft`."""

from fastft.cli import main

if __name__ == "__main__":
    main()
