"""Writing with a model: sessions, their files, and the engine that writes into them. No screen is known here.

    records    a generated token as it is remembered
    pieces     a text as pieces of what was typed and generated, changed in place without copying it
    tree       every version that a text has had
    recorded   a session's versions, facts and actions
    editing    typing and undo
    carrying   changes around a generation, kept for another one
    session    generating, branching and moving on top of those
    draft      a text at one moment, with the tokens that are known of it
    journal    the actions of a session as lines of a file, and back
    folders    where sessions lie, and the list of them
    store      sessions that are open: made, opened again, saved, closed
    text_file  a text file that a session belongs to
    autosave   a thread that saves what is new
    export     plain text and JSON
    presets    settings of the sampler under names
    tokenizing tokens of a changing text, with their places in it
    lens       attention weights as passages of the text
    reader     a model and what it has read
    gap        places of the tokens around a gap
    looking    what could have stood at a place
    snapshots  what it has read, on disk
    engine     the thread that it works in
    work       what it does there
    run        one generation
    outbox     messages in batches
    messages   what that thread tells

Nothing is imported here, and only tokenizing, lens, reader and snapshots import torch.
"""
