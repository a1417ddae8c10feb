"""What the checks of the documentation share: the files of a tree, and how a check ends."""
import os
import sys

sys.dont_write_bytecode = True


def sources(root, folders, endings):
    """The files below these folders of root that end so, as sorted paths below root."""
    for top in folders:
        for folder, below, files in os.walk(os.path.join(root, top)):
            below.sort()
            for name in sorted(files):
                if name.endswith(endings):
                    yield os.path.relpath(os.path.join(folder, name), root)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def run(check):
    """Runs check(root) for the directory of the command line, and ends with 1 if it complains."""
    complaints = check(sys.argv[1] if len(sys.argv) > 1 else ".")
    for line in complaints:
        print(line, file=sys.stderr)
    sys.exit(1 if complaints else 0)
