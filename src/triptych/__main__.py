"""`python -m triptych` is the console command `triptych`; `accelerate launch -m triptych` starts several processes."""

from triptych_command import main

if __name__ == "__main__":
    main()
