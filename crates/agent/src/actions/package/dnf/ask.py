"""Asks dnf of this host, by its own library, what it offers and what it would do. Changes nothing but dnf's caches.

Reads one request in JSON from standard input and writes one answer in JSON to standard output.
"""
import json
import sys

import dnf
import dnf.exceptions
import hawkey

LOCAL = "@commandline"
SYSTEM = "@System"


def opened():
    """dnf as its own command opens it: the host's configuration, variables, repositories and plugins."""
    base = dnf.Base()
    base.conf.read()
    base.conf.substitutions.update_from_etc(base.conf.installroot)
    # The host's configuration must not loosen these here.
    base.conf.best = True
    base.conf.obsoletes = True
    base.conf.install_weak_deps = False
    base.conf.clean_requirements_on_remove = False
    base.init_plugins()
    base.pre_configure_plugins()
    base.read_all_repos()
    base.configure_plugins()
    base.fill_sack()
    return base


def told(package):
    kind, digest = package.returnIdSum() if package.reponame not in (SYSTEM, LOCAL) else (None, None)
    return {
        "name": package.name,
        "arch": package.arch,
        "evr": package.evr,
        "source": package.source_name or package.name,
        "repository": package.reponame,
        "sha256": digest if kind == "sha256" else None,
    }


def offers(base, names):
    """All versions of these, and whether exclusions of the host hide them."""
    hidden = getattr(hawkey, "IGNORE_REGULAR_EXCLUDES", hawkey.IGNORE_EXCLUDES)
    seen = [told(package) for package in base.sack.query().available().filter(name=names)]
    every = [told(package) for package in base.sack.query(flags=hidden).available().filter(name=names)]
    return [dict(package, hidden=package not in seen) for package in every]


def attempt(base, goal):
    """What upgrading exactly these would do."""
    base.reset(goal=True)
    try:
        for want in goal:
            found = list(base.sack.query().available().filter(name=want["name"], arch=want["arch"], evr=want["evr"]))
            if not found:
                return {"error": "%(name)s-%(evr)s.%(arch)s is offered by no repository" % want}
            base.package_upgrade(found[0])
        base.resolve(allow_erasing=False)
    except dnf.exceptions.Error as error:
        return {"error": str(error)}
    return {"items": [dict(told(item.pkg), action=item.action_name) for item in base.transaction or []]}


def fetch(base, wanted):
    """Downloads these, as far as they can be had."""
    found = []
    for want in wanted:
        every = base.sack.query(flags=hawkey.IGNORE_EXCLUDES).available()
        for package in every.filter(name=want["name"], arch=want["arch"], evr=want["evr"]):
            if want.get("sha256") not in (None, told(package)["sha256"]):
                continue
            try:
                base.download_packages([package])
            except (dnf.exceptions.Error, OSError) as error:
                print(error, file=sys.stderr)
                continue
            found.append(dict(told(package), path=package.localPkg()))
    return found


def main():
    request = json.load(sys.stdin)
    base = opened()
    names = request.get("names") or []
    kernels = base.sack.query().installed().filter(provides=list(base.conf.installonlypkgs))
    answer = {
        "offers": offers(base, names) if names else [],
        "goals": [attempt(base, goal) for goal in request.get("goals") or []],
        "fetched": fetch(base, request.get("fetch") or []),
        "unchecked": sorted(repo.id for repo in base.repos.iter_enabled() if not repo.gpgcheck),
        "side_by_side": sorted({package.name for package in kernels}),
    }
    json.dump(answer, sys.stdout)


main()
