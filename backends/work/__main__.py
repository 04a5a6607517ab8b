"""`python -m backends.work job.json`: one job."""

from backends.work.door import main

if __name__ == "__main__":
    main()
