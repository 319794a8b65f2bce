"""PURE: the bundle's README.txt, with the commands for the other side."""

from deploy.bundle.manifest import MANIFEST, NAMESPACE, SBOM, SIGNATURE, WHEELS, Bundle
from deploy.bundle.wheels import REQUIREMENTS
from deploy.targets.preflight import figures


def text(bundle: Bundle, with_corral: bool) -> str:
    """What somebody who got only this folder needs to know."""
    return f"""\
{bundle.plan.model} {bundle.plan.precision} for {bundle.plan.machine.name}, with vLLM {bundle.vllm_version}.
A bundle of corral {bundle.corral_version}. No step below needs a network.

The machine: Linux, {bundle.architecture}, Python {bundle.python}{driver(bundle)}.
The model's licence: {", ".join(bundle.licences) or "no licence file came with it; ask who gave you the model"}.
{beside(bundle)}What is in it, package by package, for scanners: {SBOM} (CycloneDX).

1. Compare the checksum with the one you were told on another way (corral bundle create printed it), in this folder:

     sha256sum {MANIFEST}

   Where {SIGNATURE} lies here, the bundle is signed. The keys whose signature counts come on another way, too, as
   lines of a name and a public key in a file `signers`, which is put beside this folder: in it nothing may be added.

     ssh-keygen -Y verify -f ../signers -I ops@bank -n {NAMESPACE} -s {SIGNATURE} <{MANIFEST}

2. {corral(bundle, with_corral)}

3. Prove the bundle, install it into $CORRAL_HOME (default ~/.corral), and serve:

     ~/corral/bin/corral bundle verify . --manifest-sha256 CHECKSUM
     ~/corral/bin/corral bundle install . --manifest-sha256 CHECKSUM
     ~/corral/bin/corral serve ~/.corral/bundles/{bundle.name}/plan.json

   Of a signed one, say to both whose signature counts: --allowed-signers ../signers --identity ops@bank

   Or install it here and bring it from here to a machine reached over SSH:

     ~/corral/bin/corral up ~/.corral/bundles/{bundle.name}/plan.json --target ssh --host gpu-1 \\
         --engine ~/.corral/engine/bundled

A newer bundle is installed beside this one and serves from the next start on. To take an old one away:

     ls -d ~/.corral/bundles/*; rm -r ~/.corral/bundles/THE_OLD_ONE
"""


def beside(bundle: Bundle) -> str:
    """What is served beside the model; empty for nothing."""
    serve = bundle.plan.serve
    draft = [f"the draft {serve.draft}"] if serve.draft else []
    named = [f"the adapter {name}" for name in serve.adapters]
    return f"Beside the model: {', '.join([*draft, *named])}.\n" if draft or named else ""


def driver(bundle: Bundle) -> str:
    """The driver the engine needs, and how sure that is."""
    if bundle.min_driver is None:
        return ""
    note = "" if figures()["cuda_driver"]["verified"] else ", a minimum not verified with NVIDIA"
    return f", NVIDIA driver {bundle.min_driver} or newer{note}"


def corral(bundle: Bundle, with_corral: bool) -> str:
    """How corral gets onto the machine."""
    if not with_corral:
        return f"Have corral {bundle.corral_version} installed in ~/corral: it is not part of this bundle."
    return f"""Install corral (on Debian and Ubuntu python3-venv must be there). The list of its wheels is the one that
   {MANIFEST} knows where this prints its checksum; pip takes no wheel that is not as listed:

     {listed()}
     python{bundle.python} -m venv ~/corral
     {install()}"""


def listed() -> str:
    """What prints the checksum of the list of wheels where the manifest has it; no corral is needed for it."""
    return f"grep -o \"$(sha256sum <{WHEELS}/{REQUIREMENTS} | cut -d' ' -f1)\" {MANIFEST}"


def install() -> str:
    """What installs the wheels that are listed, and nothing else."""
    hashed = f"--require-hashes -r {WHEELS}/{REQUIREMENTS}"
    return f"~/corral/bin/pip install --no-index --find-links {WHEELS} {hashed}"
