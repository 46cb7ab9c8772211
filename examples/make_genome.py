"""Write a small genome and pieces of it, for mapclusters.py: the same bytes on every machine, nothing downloaded.

    python examples/make_genome.py DIRECTORY        mapclusters.py does it by itself, for mapclusters-data beside it

genome.fa: three random chromosomes.  clusters.fa: windows cut out of them, half of them from the other strand, each
with a substitution in every hundred bases; the last few come from no chromosome. The header says where a window was
cut, as `cluster007 chr2:1200-1900(-)`, counted from 0 and without its end, so that an answer can be checked.
"""

import os
import random
import sys

SEED = 1976
CHROMOSOMES = {"chr1": 300_000, "chr2": 200_000, "chr3": 100_000}  # bases
WINDOWS, STRANGERS = 115, 5
WINDOW = 400, 1200  # bases, shortest and longest
BASES_PER_SUBSTITUTION = 100
OTHER_STRAND = str.maketrans("ACGT", "TGCA")


def below(rng, n):
    """A number from 0 to n - 1, by rng.random(), the one method whose sequence Python promises never to change."""
    return int(rng.random() * n)


def bases(rng, n):
    return "".join("ACGT"[below(rng, 4)] for _ in range(n))


def cut(rng, genome):
    """A window of the genome as (where, sequence), changed as a sequenced piece would be."""
    name = list(genome)[below(rng, len(genome))]
    length = WINDOW[0] + below(rng, WINDOW[1] - WINDOW[0])
    start = below(rng, len(genome[name]) - length)
    window = list(genome[name][start : start + length])
    for place in range(BASES_PER_SUBSTITUTION // 2, length, BASES_PER_SUBSTITUTION):
        window[place] = window[place].translate(OTHER_STRAND)
    sequence, strand = "".join(window), "+"
    if below(rng, 2):
        sequence, strand = sequence.translate(OTHER_STRAND)[::-1], "-"
    return f"{name}:{start}-{start + length}({strand})", sequence


def write_fasta(path, sequences):
    """sequences: {header: bases}. Renamed into place, so that nobody reads half of it."""
    with open(path + ".new", "w", encoding="ascii") as file:
        for header, sequence in sequences.items():
            lines = (sequence[i : i + 60] for i in range(0, len(sequence), 60))
            file.write(f">{header}\n" + "\n".join(lines) + "\n")
    os.replace(path + ".new", path)


def make(directory):
    """Write both files into `directory`, the genome first: where clusters.fa is, both are."""
    rng = random.Random(SEED)
    genome = {name: bases(rng, length) for name, length in CHROMOSOMES.items()}
    pieces = [cut(rng, genome) for _ in range(WINDOWS)] + [("nowhere", bases(rng, WINDOW[1])) for _ in range(STRANGERS)]
    os.makedirs(directory, exist_ok=True)
    write_fasta(os.path.join(directory, "genome.fa"), genome)
    clusters = {f"cluster{number:03} {where}": sequence for number, (where, sequence) in enumerate(pieces)}
    write_fasta(os.path.join(directory, "clusters.fa"), clusters)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_genome.py DIRECTORY")
    make(sys.argv[1])
