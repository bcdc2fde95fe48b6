"""`python -m korformer` is the `korformer` program, which is also how torchrun starts it: `torchrun -m korformer`."""

if __name__ == "__main__":
    from korformer.commands.app import main

    main()
