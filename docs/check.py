"""Checks the documents, and writes the files llms.txt and llms-full.txt of the site."""

import ast
import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote

try:
    import yaml
    from yaml import YAMLError
except ImportError:
    yaml, YAMLError = None, ValueError

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
REPOSITORY = "https://github.com/broadcast-middleware/broadcast-middleware"
SITE = "https://broadcast-middleware.github.io/broadcast-middleware/"
PAGES = sorted(DOCS.rglob("*.md"))
OTHER_DOCUMENTS = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "templates/README.md")] + sorted(ROOT.glob("src/*/README.md")) \
    + sorted(ROOT.glob("benchmarks/*.md"))
# The package page shows these files, so their links must be absolute.
PACKAGE_DOCUMENTS = sorted([ROOT / "README.md", ROOT / "templates/README.md", *ROOT.glob("src/*/README.md")])
MAX_README_LINES = 100

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
SCRIPT = re.compile(r"<script[^>]*>(.*?)</script>", re.DOTALL)
HAPROXY = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin") or shutil.which("haproxy")
COMPILER = shutil.which("clang++") or shutil.which("g++")
problems = []
# The names of the tools that are not installed.
missing = set()


def name(path):
    return path.relative_to(ROOT).as_posix()


@cache
def text(path):
    return path.read_text(encoding="utf-8")


@cache
def anchors(path):
    """Returns the anchors of the headings, as GitHub and docfx write them."""
    found = set()
    for heading in re.findall(r"^#+ +(.*)$", FENCE.sub("", text(path)), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


def check_target(document, link, target, fragment):
    if not target.exists():
        problems.append(f"{name(document)}: the link {link} has no target. Correct the path.")
    elif fragment and target.suffix == ".md" and fragment not in anchors(target):
        problems.append(f"{name(document)}: {link} names the section #{fragment}, which {name(target)} does not have.")


def check_links(document):
    for link in LINK.findall(FENCE.sub("", text(document))):
        path, _, fragment = unquote(link).partition("#")
        if path.startswith(REPOSITORY + "/"):
            kind, *rest = path[len(REPOSITORY) + 1:].split("/")
            if kind in ("blob", "tree", "raw"):
                check_target(document, link, ROOT.joinpath(*rest[1:]), fragment)
        elif not re.match(r"[a-z]+:", path):
            if document in PACKAGE_DOCUMENTS:
                problems.append(f"{name(document)}: the link {link} is relative. The package page needs {REPOSITORY}/blob/main/….")
            check_target(document, link, (document.parent / path).resolve() if path else document, fragment)


def blocks(document):
    """Yields the language, the first line number and the text of each code block."""
    for match in FENCE.finditer(text(document)):
        yield match[1], text(document).count("\n", 0, match.start()) + 2, match[2]


def run(place, tool, arguments, code):
    """Runs a tool that reads code from its standard input, and reports the errors of the tool."""
    if tool is None:
        missing.add(arguments[0])
        return
    result = subprocess.run([tool, *arguments[1:]], input=code, capture_output=True, text=True)
    if result.returncode:
        problems.append(f"{place}: {result.stderr.strip()}")


def check_code(documents):
    """
    Parses Python, JSON, YAML, shell and JavaScript code, compiles C++ code, and checks settings of HAProxy. Tests compile the C# code and
    use the settings of nginx.
    """
    scripts = []
    for document in documents:
        for language, line, code in blocks(document):
            place = f"{name(document)}:{line}"
            try:
                if language in ("python", "py"):
                    compile(code, place, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                elif language == "json":
                    json.loads(code)
                elif language == "yaml":
                    if yaml is None:
                        missing.add("python3-yaml")
                    else:
                        list(yaml.safe_load_all(code))
                elif language in ("sh", "bash"):
                    run(place, "bash", ["bash", "-n"], code)
                elif language == "cpp":
                    run(place, COMPILER, ["clang++ or g++", "-fsyntax-only", "-Wall", "-Werror", f"-I{ROOT / 'tests/Arduino'}", "-include", "Arduino.h", "-xc++", "-"], code)
                elif language == "haproxy":
                    run(place, HAPROXY, ["haproxy", "-c", "-f", "/dev/stdin"], code)
                elif language in ("js", "javascript"):
                    scripts.append((place, code))
                elif language == "html":
                    scripts += [(place, script) for script in SCRIPT.findall(code)]
            except (SyntaxError, ValueError, YAMLError) as error:
                problems.append(f"{place}: {error}")
    # One process parses all scripts. It does not run them.
    program = """
        const vm = require('vm'), scripts = JSON.parse(require('fs').readFileSync(0, 'utf8'))
        for (const [place, code] of scripts)
          try { new vm.SourceTextModule(code) } catch (error) { console.log(`${place}: ${error.message}`) }"""
    result = subprocess.run(["node", "--no-warnings", "--experimental-vm-modules", "-e", program], input=json.dumps(scripts), capture_output=True, text=True)
    problems.extend(result.stdout.splitlines())
    if result.returncode:
        problems.append(f"Node.js could not check the JavaScript code. {result.stderr.strip()}")


def pages_of_contents():
    """Returns the sections of the site: the name of each section, and its pages in the order of the table of contents."""
    top = re.findall(r"^- name: (.*)\n  href: (\S+)/$", text(DOCS / "toc.yml"), re.MULTILINE)
    return [(title, [(DOCS / folder / href).resolve() for href in re.findall(r"^ *href: (\S+\.md)$", text(DOCS / folder / "toc.yml"), re.MULTILINE)])
            for title, folder in top]


def check_contents():
    listed = [page for _, pages in pages_of_contents() for page in pages] + [DOCS / "index.md"]
    for page in PAGES:
        if listed.count(page) != 1:
            problems.append(f"{name(page)}: {listed.count(page)} entries of the toc.yml files name this page. List the page once.")
        if not text(page).startswith("# "):
            problems.append(f"{name(page)}: the first line is not a heading.")
    for page in listed:
        if page not in PAGES:
            problems.append(f"{name(page)}: a toc.yml lists this page, but the page does not exist.")


def summary(page):
    """Returns the first sentence of the first paragraph."""
    for paragraph in re.split(r"\n\s*\n", FENCE.sub("", text(page))):
        if paragraph.strip() and not re.match(r"[#|!<\-]", paragraph.strip()):
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(paragraph.split()))
            return re.split(r"(?<=\.)\s", plain.replace("**", ""))[0].rstrip(":.") + "."
    return ""


def title(page):
    return text(page).split("\n", 1)[0].lstrip("# ")


def write_llms(folder):
    """Writes llms.txt (see llmstxt.org), which lists each page, and llms-full.txt, which contains the text of each page."""
    lines = ["# Broadcast.Middleware", "", f"> {summary(DOCS / 'index.md')}", ""]
    full = [text(ROOT / "README.md")]
    for section, pages in pages_of_contents():
        lines += [f"## {section}", ""]
        for page in pages:
            lines.append(f"- [{title(page)}]({REPOSITORY}/raw/main/{name(page)}): {summary(page)}")
            full.append(text(page))
        lines.append("")
    (folder / "llms.txt").write_text("\n".join(lines), encoding="utf-8")
    (folder / "llms-full.txt").write_text("\n\n".join(full), encoding="utf-8")


def check_site(folder):
    """Checks that the built site has the target of each link to the site."""
    for document in PAGES + OTHER_DOCUMENTS:
        for link in LINK.findall(FENCE.sub("", text(document))):
            path = unquote(link).partition("#")[0]
            if path.startswith(SITE) and not (folder / re.sub("(^|/)$", r"\1index.html", path[len(SITE):])).is_file():
                problems.append(f"{name(document)}: the site has no page for the link {link}. Correct the link.")


def main():
    if sys.argv[1:2] == ["--write-llms"]:
        write_llms(Path(sys.argv[2]))
        check_site(Path(sys.argv[2]))
        if problems:
            sys.exit("\n".join(problems))
        return
    for document in PAGES + OTHER_DOCUMENTS:
        check_links(document)
    check_code(PAGES + OTHER_DOCUMENTS)
    check_contents()
    lines = text(ROOT / "README.md").count("\n")
    if lines > MAX_README_LINES:
        problems.append(f"README.md has {lines} lines. Shorten it to {MAX_README_LINES} lines.")
    if problems:
        sys.exit("\n".join(problems))
    if missing:
        print(f"The check skipped code, because these tools are not installed: {', '.join(sorted(missing))}.")
    print(f"Checked {len(PAGES)} pages and {len(OTHER_DOCUMENTS)} other documents.")


main()
