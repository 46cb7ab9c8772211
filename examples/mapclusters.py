"""Map sequence clusters onto a genome: the first example of the coordinator's manual, on parts everybody can have.

    python examples/mapclusters.py MAPPED --local                     needs blastn: Debian's package ncbi-blast+
    sqlite3 examples/mapclusters-data/alignments.db 'select * from genome_alignment limit 5'

The first start has make_genome.py write a small genome and 120 pieces of it. What differs from the code that the
manual prints (`mapclusters5.py`):

* Python 3; `import coordinator` instead of `from pygr import coordinator`; `rmOpts=""` where the print has one quote.
* megablast of pygr's BlastDB becomes NCBI's `blastn -task megablast`, in the class BlastDB below. rmOpts, options of
  RepeatMasker there, are blastn's own masking options here: --rmOpts='-dust no'.
* The resource, hg17 there, is called genome. It is a directory, a BLAST database of seven files, and its rule stands
  in this file: once per host, makeblastdb builds it from genome.fa. For a rule that the ResourceController has for
  everybody (RCMonitor().setrule), the third argument is the list that the manual prints, ["genome"].
* The clusters and their sequences come from a FASTA file, `source`, instead of the MySQL table `source_table`. The
  splice graph, which the manual loads only for its cursor and sequences, is gone.
* The alignments go to `result_table` of an SQLite file, `dbname`, one writer per Processor, and to the job's results
  as well. SQLite serves the Processors of one host; from many hosts, read the job's results.
* A task can be executed again, after a crash for instance. What it saves replaces what it saved before.
* The resource is closed when the function ends, however it ends: the manual says why it must be.
"""

import contextlib
import os
import shlex
import sqlite3
import subprocess
import sys
import tempfile

import coordinator

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mapclusters-data")
GENOME = os.path.join(DATA, "genome.fa")
CLUSTERS = os.path.join(DATA, "clusters.fa")
ALIGNMENTS = os.path.join(DATA, "alignments.db")

# (where it lies on each host, the command that builds it at %s): on the host's own disk, for each user apart. When
# genome.fa changes, remove the directory or give it another name.
GENOME_RULE = (
    os.path.join(tempfile.gettempdir(), f"mapclusters-genome-{os.getuid()}"),
    'd=%s; mkdir -p "$d" && cd "$d" && makeblastdb -in - -dbtype nucl -title genome -out genome < '
    + shlex.quote(GENOME),
)
COLUMNS = "src_id, hit, src_start, src_end, dest_id, dest_start, dest_end, dest_ori, identity, bitscore"
FIELDS = "qstart qend sseqid sstart send pident bitscore"


def map_clusters(
    server,
    genome_rsrc="genome",
    dbname=ALIGNMENTS,
    result_table="genome_alignment",
    source=CLUSTERS,
    rmOpts="",
    **kwargs,
):
    "map clusters one by one"
    # CONSTRUCT RESOURCE FOR US IF NEEDED
    with contextlib.closing(BlastDB(ifile=server.open_resource(genome_rsrc, "r"))) as genome:
        # LOAD SEQUENCES, OPEN DATABASE
        genomic_seq = dict(read_fasta(source))
        with contextlib.closing(open_table(dbname, result_table)) as db:
            for cluster_id in server:
                g = genomic_seq[cluster_id]
                m = genome.megablast(g, maxseq=1, minIdentity=98, rmOpts=rmOpts)  # MASK, BLAST, READ INTO m
                # SAVE ALIGNMENT m TO DATABASE TABLE
                save_alignment(db, result_table, cluster_id, m)
                server.result(m)
                yield cluster_id  # WE MUST FUNCTION AS GENERATOR


def serve_clusters(source=CLUSTERS, **kwargs):
    "serve up cluster_id one by one"
    for id, _ in read_fasta(source):
        yield id


class BlastDB:
    """A BLAST database, of which the resource `ifile` is the directory."""

    def __init__(self, ifile):
        self.ifile = ifile

    def close(self):
        self.ifile.close()

    def megablast(self, sequence, maxseq=1, minIdentity=98, rmOpts=""):
        """Align one sequence: a list of the alignments with the `maxseq` best sequences, the best alignment first."""
        # five, since BLAST's search is a poor judge among fewer: best_alignments chooses from those
        options = ["-max_target_seqs", str(max(5, maxseq)), "-perc_identity", str(minIdentity), *shlex.split(rmOpts)]
        command = ["blastn", "-task", "megablast", "-db", "genome", "-outfmt", f"6 {FIELDS}", *options]
        # in the database's directory, since -db takes a path with a space for two databases
        done = subprocess.run(command, cwd=self.ifile.name, input=sequence, capture_output=True, text=True, check=False)
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["nothing"]  # its usage comes first, what is wrong last
            raise RuntimeError(f"blastn ended with status {done.returncode} and said: {said[-1]}")
        return best_alignments(done.stdout, maxseq)


def best_alignments(table, maxseq):
    """Read blastn's table. Intervals count from 0 and exclude their end; dest_ori is -1 on the other strand."""
    found = []
    for line in table.splitlines():
        qstart, qend, dest_id, sstart, send, identity, bitscore = line.split("\t")
        ends = int(sstart), int(send)
        found.append(
            {
                "src_start": int(qstart) - 1,
                "src_end": int(qend),
                "dest_id": dest_id,
                "dest_start": min(ends) - 1,
                "dest_end": max(ends),
                "dest_ori": 1 if ends[0] <= ends[1] else -1,
                "identity": float(identity),
                "bitscore": float(bitscore),
            }
        )
    found.sort(key=lambda a: (-a["bitscore"], a["dest_id"], a["dest_start"]))
    best = list(dict.fromkeys(a["dest_id"] for a in found))[:maxseq]
    return [a for a in found if a["dest_id"] in best]


def open_table(dbname, table):
    """Open the database, with the table in it. All Processors write here: each waits up to 60 s for its turn."""
    if not table.isidentifier():
        raise ValueError(f"--result_table={table}: a name of letters, digits and _ is needed")
    db = sqlite3.connect(dbname, timeout=60)
    db.execute(f'CREATE TABLE IF NOT EXISTS "{table}" ({COLUMNS}, PRIMARY KEY (src_id, hit))')
    return db


def save_alignment(db, table, cluster_id, alignments):
    """Save what was found for one cluster, in one transaction, in place of what an earlier execution saved."""
    rows = [{"src_id": cluster_id, "hit": hit, **a} for hit, a in enumerate(alignments)]
    values = ", ".join(":" + column for column in COLUMNS.split(", "))
    with db:
        db.execute(f'DELETE FROM "{table}" WHERE src_id = ? AND hit >= ?', (cluster_id, len(rows)))
        db.executemany(f'INSERT OR REPLACE INTO "{table}" ({COLUMNS}) VALUES ({values})', rows)


def read_fasta(path):
    """Yield (name, sequence) of each entry; the name is the header's first word."""
    name, lines = None, []
    with open(path, encoding="ascii") as file:
        for line in file:
            if line.startswith(">"):
                if name is not None:
                    yield name, "".join(lines)
                name, lines = line[1:].split()[0], []
            else:
                lines.append(line.strip())
    if name is not None:
        yield name, "".join(lines)


if __name__ == "__main__":
    if not os.path.exists(CLUSTERS):
        import make_genome

        make_genome.make(DATA)
    run = coordinator.start_client_or_server(
        map_clusters, serve_clusters, {"genome": GENOME_RULE}, __file__, exit=False
    )
    if run:  # --local, in the foreground
        sys.exit(run.exit_status)
