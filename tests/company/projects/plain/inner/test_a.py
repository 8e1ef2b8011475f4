from pathlib import Path

NOTES = Path(__file__).parent.parent / "notes.txt"


def test_it(per_package):
    with NOTES.open("a") as notes:
        notes.write(f"{per_package.container_id}\n")
