"""What `benches/compare` is made of: pgark timed beside its peers on the same databases, in turn, in one run.

    options     the command line                        programs    where the programs are, and what is fetched for a run
    sizes       how large each database is              cluster     a server of the bench's own, and questions to it
    databases   what fills them                         measure     one run of a program: wall, processor, memory, bytes
    bench       what every work needs                   sides       a peer or pgark doing its part of a work
    work        what a work is, and its targets         works/      the works, one file each
    rounds      runs works in turn                      outcome     medians and ratios, met or not
    table, plot what is printed and drawn               link        a network link that delays, with a fixed window
    sampler     how many connections are busy           tests/      of what needs no server

Python 3.11 and its standard library; nothing here is part of pgark.
"""
