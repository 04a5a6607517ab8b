"""The service stack that a spec asks for, on a foundation that is only written out: `SPEC=specs/aws-full.yaml`."""

from spec_ground import SECRETS, chosen, outputs, release

from infra_pulumi.service import service
from llmspec.infra.asked import serving
from llmspec.secrets import REFERENCE
from llmspec.site import Site

loaded = chosen()
site = Site(loaded.spec, loaded.target, loaded.path)
service(serving(site, release(loaded), outputs(loaded), resolve=lambda text: REFERENCE.sub(lambda it: SECRETS[it[1]], text)))
