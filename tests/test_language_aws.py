"""The language for AWS: what only a cloud makes real is an error where nothing makes it real, and is taken where it is."""
# ruff: noqa: E501  (a table reads best with one line for each case)

import hashlib
from pathlib import Path

import pytest
from test_language_faults import GOOD, HUB, problems

from llmspec.load import Loaded, load
from llmspec.stage import Product

pytest_plugins = ["moto_parts"]
HERE = GOOD
LONG = hashlib.shake_256(b"words that no packing makes shorter").hexdigest(3000)
ELSEWHERE = "arn:aws:acm:eu-west-1:111122223333:certificate/a-b"
NAMED = "domain: bot.acme.example, zone: Z0123456789ABCDEFGHIJ"
AWS = GOOD + "store: s3://acme-llm/bots\nregion: eu-central-1\nplaces: {endpoint: sagemaker}\n"


def at(place: str, more: str = "", stage: str = "endpoint", head: str = GOOD) -> str:
    return f"{head}store: s3://acme-llm/bots\nregion: eu-central-1\nplaces: {{{stage}: {place}}}\n{more}"


TRAINED = GOOD.replace("{scratch: tiny}", HUB)

# what was written, the words under the carets, the fault, the cure
FAULTS = {
    "scale here": (HERE + "endpoint: {scale: {min: 2, max: 4}}\n", "{min: 2, max: 4}", "local serves one copy", "ecs, eks, lambda or sagemaker"),
    "rollout here": (HERE + "endpoint: {rollout: {strategy: canary}}\n", "{strategy: canary}", "local swaps releases without a pause", "at ecs, lambda or sagemaker"),
    "variants here": (HERE + "endpoint: {variants: [{release: 1, weight: 90}, {release: 2, weight: 10}]}\n", "[{release: 1, weight: 90}, {release: 2, weight: 10}]", "local serves one release", "at ecs, eks or sagemaker"),
    "notify here": (HERE + "monitors: {notify: {email: a@b.example}}\n", "{email: a@b.example}", "nothing rings a local alarm", "target whose endpoint is in AWS"),
    "dashboards here": (HERE + "monitors: {dashboards: [cloudwatch]}\n", "[cloudwatch]", "a local endpoint has no dashboard", "in AWS"),
    "region here": (HERE + "region: eu-central-1\n", "eu-central-1", "region would have no effect", "take it out"),
    "governance here": (HERE + "governance: {audit: true}\n", "{audit: true}", "governance would have no effect", "the target that is in AWS"),
    "no region": (HERE + "store: s3://acme-llm/bots\nplaces: {endpoint: sagemaker}\n", "sagemaker", "sagemaker needs a region", "add `region: …`"),
    "no region and no store": (HERE + "places: {endpoint: sagemaker}\n", "sagemaker", "sagemaker needs a region and a store in S3", "`store: s3://bucket/prefix`"),
    "no store": (HERE + "region: eu-central-1\nplaces: {endpoint: sagemaker}\n", "sagemaker", "sagemaker cannot reach a store in a folder", "`store: s3://bucket/prefix`"),
    "store in a folder": (at("sagemaker").replace("s3://acme-llm/bots", "./store"), "./store", "cannot reach a store in a folder", "`store: s3://bucket/prefix`"),
    "bucket with a dot": (at("sagemaker").replace("acme-llm", "acme.llm"), "s3://acme.llm/bots", "'acme.llm' leaves no room", "3 to 48 small letters"),
    "bucket with a long name": (at("sagemaker").replace("acme-llm", "a" * 49), f"s3://{'a' * 49}/bots", "leaves no room", "3 to 48 small letters"),
    "prefix that is everything": (at("sagemaker").replace("/bots", "/b*"), "s3://acme-llm/b*", "'*' in a prefix is everything to a policy", "letters, digits"),
    "name with no room": (at("sagemaker", "targets: {a-target-with-a-name-of-forty-one-letters: {default: true}}\n"), "shop", "is 46 letters long", "shorten the name"),
    "too many tags": (at("sagemaker", "tags: {" + ", ".join(f"t{n}: x" for n in range(41)) + "}\n"), "{" + ", ".join(f"t{n}: x" for n in range(41)) + "}", "41 tags are more", "keep 40"),
    "HTTPS of its own": (at("sagemaker", "endpoint: {tls: {certificate: a.pem, key: b.pem}}\n"), "{certificate: a.pem, key: b.pem}", "sagemaker makes HTTPS itself", "the target that is local"),
    "roles of keys": (at("sagemaker", "endpoint: {access: {roles: {user: [use, read_metrics]}}}\n"), "{roles: {user: [use, read_metrics]}}", "keys and their roles have no effect at sagemaker", "take it out"),
    "web pages at sagemaker": (at("sagemaker", "endpoint: {cors: ['https://shop.example']}\n"), "['https://shop.example']", "a web page has none", "local or at ecs, eks or lambda"),
    "tokens of a function": (at("lambda", "endpoint: {limits: {tokens_per_minute: 9000}}\n"), "9000", "lives too short to count", "use requests_per_minute"),
    "sign in at sagemaker": (at("sagemaker", "endpoint: {access: {keys: cognito}}\n"), "cognito", "nobody can sign in at sagemaker", "write it under a target whose endpoint is at lambda, or use `file`"),
    "sign in here": (HERE + "endpoint: {access: {keys: cognito}}\n", "cognito", "nobody can sign in at local", "at lambda, or use `file`"),
    "roles of people": (at("lambda", "endpoint: {access: {keys: cognito, roles: {user: [use, read_metrics]}}}\n"), "{user: [use, read_metrics]}", "roles would have no effect at lambda", "take them out"),
    "roles of keys at lambda": (at("lambda", "endpoint: {access: {roles: {user: [use, test]}}}\n"), "{roles: {user: [use, test]}}", "keys and their roles have no effect at lambda", "`keys: cognito` has people sign in"),
    "open to everybody": (at(f"{{ecs: {{public: true, open_to: ['10.0.0.0/8', '0.0.0.0/0'], {NAMED}}}}}"), "'0.0.0.0/0'", "nobody is asked for a key", "name the networks"),
    "name of a load balancer": (at(f"{{ecs: {{{NAMED}}}}}").replace("name: shop", "name: internal-shop"), "internal-shop", "AWS keeps names with 'internal-'", "begin the name otherwise"),
    "open to no addresses": (at(f"{{ecs: {{open_to: [10.0.0.0/8, 300.1.1.1/24], {NAMED}}}}}"), "300.1.1.1/24", "300.1.1.1/24 is no range of addresses", "`10.0.0.0/8`"),
    "open to a range from its middle": (at(f"{{eks: {{open_to: [10.1.2.3/8], {NAMED}}}}}"), "10.1.2.3/8", "10.1.2.3/8 does not begin where its range begins", "write `10.0.0.0/8`"),
    "open to the same twice": (at(f"{{ecs: {{open_to: [10.0.0.0/8, 10.0.0.0/8], {NAMED}}}}}"), "[10.0.0.0/8, 10.0.0.0/8]", "10.0.0.0/8 is there twice", "keep one"),
    "certificate of another region": (at(f"{{ecs: {{certificate: '{ELSEWHERE}', {NAMED}}}}}"), f"'{ELSEWHERE}'", "a certificate of eu-west-1, and this is eu-central-1", "take it out"),
    "certificate of another region at eks": (at(f"{{eks: {{certificate: '{ELSEWHERE}', {NAMED}}}}}"), f"'{ELSEWHERE}'", "a certificate of eu-west-1, and this is eu-central-1", "take it out"),
    "failover to itself": (at(f"{{ecs: {{failover: bot-1.eu-central-1.elb.amazonaws.com, {NAMED}}}}}"), "bot-1.eu-central-1.elb.amazonaws.com", "it is lost with eu-central-1", "another region"),
    "an ARM machine at ecs": (at(f"{{ecs: {{instance: m7g.xlarge, {NAMED}}}}}"), "m7g.xlarge", "m7g.xlarge has an ARM processor, and the images are for x86", "m7i.large"),
    "an ARM machine at eks": (at(f"{{eks: {{instance: g5g.2xlarge, {NAMED}}}}}"), "g5g.2xlarge", "has an ARM processor", "m7i.large"),
    "a chip that nothing computes on": (at("{sagemaker: {instance: ml.inf2.xlarge}}"), "ml.inf2.xlarge", "has a chip that nothing here computes on, and it is paid for", "ml.g5.xlarge"),
    "a GPU without CUDA": (at(f"{{ecs: {{instance: g4ad.xlarge, {NAMED}}}}}"), "g4ad.xlarge", "has a chip that nothing here computes on", "g5.xlarge"),
    "an ARM machine at SageMaker": (at("{sagemaker: {instance: ml.c7gn.large}}"), "ml.c7gn.large", "has an ARM processor", "ml.m7i.large"),
    "a wait that nobody waits at ecs": (at(f"{{ecs: {{{NAMED}}}}}", "endpoint: {rollout: {wait: 7m}}\n"), "7m", "all_at_once at ecs has no steps to wait between", "canary or linear"),
    "a wait that nobody waits at lambda": (at("lambda", "endpoint: {rollout: {wait: 7m}}\n"), "7m", "all_at_once at lambda has no steps to wait between", "canary or linear"),
    "half a minute at ecs": (at(f"{{ecs: {{{NAMED}}}}}", "endpoint: {rollout: {strategy: linear, wait: 90s}}\n"), "90s", "ECS waits whole minutes", "wait: 5m"),
    "open to nobody": (at(f"{{ecs: {{public: true, {NAMED}}}}}"), f"{{public: true, {NAMED}}}", "private networks only: nobody could ask", "open_to: [203.0.113.0/24]"),
    "open to nobody at eks": (at(f"{{eks: {{public: true, open_to: [172.20.0.0/16, 192.168.1.1/32], {NAMED}}}}}"), "[172.20.0.0/16, 192.168.1.1/32]", "private networks only: nobody could ask", "or take public out"),
    "alarms that turn back": (at("sagemaker", "monitors: {alarms: [" + ", ".join(f"error_rate > {n}%" for n in range(1, 12)) + "]}\n"), "[" + ", ".join(f"error_rate > {n}%" for n in range(1, 12)) + "]", "11 alarms, which turn a rollout back too", "rollback_on"),
    "a rollout of days": (at("sagemaker", "endpoint: {rollout: {strategy: linear, steps: [10, 20, 30, 40, 50, 60, 70, 80, 90, 100], wait: 20m}}\n"), "20m", "four hours", "wait less"),
    "odd memory of a small task": (at("{ecs: {cpu: 0.25, memory: 1.5GB}}"), "1.5GB", "0.25 vCPU have 0.5, 1 or 2 GB", "change cpu or memory"),
    "half a proof": (at("sagemaker", "governance: {deploy: {github: acme/bot, owner_id: 7}}\n"), "7", "one number without the other proves nothing", "or neither"),
    "no repository": (at("sagemaker", "governance: {deploy: {github: bot}}\n"), "bot", "'bot' is not allowed here", "OWNER/NAME"),
    "a pipeline for a cluster": (at(f"{{eks: {{{NAMED}}}}}", "governance: {deploy: {github: acme/bot}}\n"), "{github: acme/bot}", "reach beyond it", "people deploy to eks"),
    "a region that AWS has not": (at("sagemaker").replace("eu-central-1", "us-east-9"), "us-east-9", "AWS has no region 'us-east-9'", "did you mean 'us-east-"),
    "no such region": (at("sagemaker").replace("eu-central-1", "frankfurt"), "frankfurt", "'frankfurt' is not allowed here", "eu-central-1"),
    "spot for an endpoint": (at("{sagemaker: {spot: true}}"), "true", "spot has no effect on the endpoint", "take it out"),
    "runtime of an endpoint": (at(f"{{ecs: {{max_runtime: 1h, {NAMED}}}}}"), "1h", "max_runtime has no effect on the endpoint", "take it out"),
    "form of a job": (at("{sagemaker: {form: async}}", stage="model"), "async", "form has no effect on model", "take it out"),
    "monitors elsewhere": (at("sagemaker", stage="monitors"), "sagemaker", "sagemaker cannot do monitors", "looked at where llmspec runs, wherever the endpoint is"),
    "a base from the hub at ecs": (at("ecs", stage="features", head=TRAINED), "ecs", "a base from the hub is fetched by the job, and a task at ecs reaches no hub", "do this stage locally or at sagemaker"),
    "a way out of nothing": (at("{sagemaker: {form: serverless}}", "governance: {nat_gateways: 1}\n"), "1", "nothing of this target stands in a network", "take it out"),
    "more ways out than zones": (at("lambda", "governance: {nat_gateways: 3}\n"), "3", "the network has 2 zones", "write 2, which is one a zone"),
    "spot for a processing job": (at("{sagemaker: {spot: true}}", stage="features"), "true", "processing jobs have none", "take it out"),
    "endpoint at emr": (at("emr"), "emr", "emr cannot do endpoint", "llmspec backends"),
    "job at lambda": (at("lambda", stage="features"), "lambda", "lambda cannot do features", "llmspec backends"),
    "sail at emr": (at("emr", stage="data"), "emr", "emr has no engine 'sail'", "engine: spark"),
    "another Spark at emr": (at("emr", stage="data").replace("data:\n", 'data:\n  engine: {spark: {master: "local[2]"}}\n'), '"local[2]"', "master has no effect at emr", "take it out"),
    "workers above the bound": (at("{emr: {workers: 9}}", stage="data").replace("data:\n", "data:\n  engine: spark\n"), "{workers: 9}", "need 40, and max_vcpu is 16", "raise max_vcpu"),
    "size of a worker": (at("{emr: {memory: 4GB}}", stage="data").replace("data:\n", "data:\n  engine: spark\n"), "4GB", "4 vCPU have 8 to 30 GB", "change cpu or memory"),
    "release label": (at("{emr: {release: spark-4}}", stage="data").replace("data:\n", "data:\n  engine: spark\n"), "spark-4", "'spark-4' is not allowed here", "emr-spark-8.1.0"),
    "EC2 name at SageMaker": (at("{sagemaker: {instance: g5.xlarge}}"), "g5.xlarge", "'g5.xlarge' is not allowed here", "`ml.g5.xlarge`"),
    "SageMaker name at ECS": (at("{ecs: {instance: ml.g5.xlarge}}"), "ml.g5.xlarge", "'ml.g5.xlarge' is not allowed here", "`g5.xlarge`"),
    "instance and serverless": (at("{sagemaker: {form: serverless, instance: ml.g5.xlarge}}"), "ml.g5.xlarge", "a serverless endpoint has no instance", "form: realtime"),
    "memory and realtime": (at("{sagemaker: {memory: 4GB}}"), "4GB", "memory has no effect with form: realtime", "form: serverless"),
    "half a gigabyte": (at("{sagemaker: {form: serverless, memory: 1.5GB}}"), "1.5GB", "memory is in whole GB", "1GB to 6GB"),
    "GPU on Fargate": (at(f"{{ecs: {{gpus: 1, {NAMED}}}}}"), "1", "Fargate has no GPU", "g5.xlarge"),
    "no certificate at ecs": (at("ecs"), "ecs", "ecs speaks HTTPS, and there is no certificate", "`domain: …` and `zone: …`"),
    "no zone at eks": (at("{eks: {domain: bot.acme.example}}"), "{eks: {domain: bot.acme.example}}", "eks speaks HTTPS, and there is no certificate", "certificate: …"),
    "no name to move": (at("{ecs: {certificate: 'arn:aws:acm:eu-central-1:111122223333:certificate/a-b', failover: bot-1.eu-west-1.elb.amazonaws.com}}"), "bot-1.eu-west-1.elb.amazonaws.com", "no name would move to the second region", "`domain: …` and `zone: …`"),
    "failover to no load balancer": (at(f"{{ecs: {{{NAMED}, failover: bot.eu.acme.example}}}}"), "bot.eu.acme.example", "'bot.eu.acme.example' is not allowed here", "a load balancer's own name"),
    "zone alone": (at("{ecs: {zone: Z0123456789ABCDEFGHIJ}}"), "Z0123456789ABCDEFGHIJ", "a zone without a name in it", "domain: …"),
    "one zone at ecs": (at(f"{{ecs: {{{NAMED}}}}}", "endpoint: {scale: {max: 2, zones: 1}}\n"), "1", "two zones or more", "zones: 2"),
    "one zone at eks": (at(f"{{eks: {{{NAMED}}}}}", "endpoint: {scale: {max: 2, zones: 1}}\n"), "1", "two zones or more", "zones: 2"),
    "steps and variants at ecs": (at(f"{{ecs: {{{NAMED}}}}}", "endpoint: {rollout: {strategy: linear}, variants: [{release: 1, weight: 50}, {release: 2, weight: 50}]}\n"), "{strategy: linear}", "move the same weights", "all_at_once"),
    "tiny steps at ecs": (at(f"{{ecs: {{{NAMED}}}}}", "endpoint: {rollout: {strategy: linear, steps: [1, 100]}}\n"), "[1, 100]", "linear steps are of one size", ""),
    "size of a task": (at("{ecs: {cpu: 3}}"), "3", "there is no size with 3 vCPU", "0.25, 0.5, 1, 2, 4, 8, 16"),
    "memory of a task": (at("{ecs: {cpu: 8, memory: 18GB}}"), "18GB", "8 vCPU have 16 to 60 GB in steps of 4", "change cpu or memory"),
    "a prompt longer than a function's room": (at("lambda", f"endpoint: {{system_prompt: {LONG}}}\n"), LONG, "bytes of a function's environment, and about 3,200 are free", "write a shorter one, or serve from sagemaker"),
    "memory of a function": (at("{lambda: {memory: 11GB}}"), "11GB", "must be at most 10,240,000,000", ""),
    "time of a function": (at("{lambda: {timeout: 20m}}"), "20m", "must be at most 15m", ""),
    "zones of a function": (at("lambda", "endpoint: {scale: {max: 4, zones: 3}}\n"), "3", "scale.zones would have no effect at lambda", "take it out; write it under a target whose endpoint is at ecs"),
    "rollout of a Deployment": (at(f"{{eks: {{{NAMED}}}}}", "endpoint: {rollout: {strategy: canary}}\n"), "{strategy: canary}", "rollout would have no effect", "at ecs, lambda or sagemaker"),
    "concurrency of serverless": (at("{sagemaker: {form: serverless}}", "endpoint: {scale: {max: 4, concurrency_per_copy: 5}}\n"), "5", "scale.concurrency_per_copy would have no effect", "take it out"),
    "variants of async": (at("{sagemaker: {form: async}}", "endpoint: {variants: [{release: 1, weight: 50}, {release: 2, weight: 50}]}\n"), "[{release: 1, weight: 50}, {release: 2, weight: 50}]", "variants would have no effect", "at ecs, eks or sagemaker"),
    "zero copies that wait": (at("sagemaker", "endpoint: {scale: {min: 0, max: 2}}\n"), "0", "a realtime endpoint has at least one copy", "form: async"),
    "zero tasks": (at(f"{{ecs: {{{NAMED}}}}}", "endpoint: {scale: {min: 0, max: 2}}\n"), "0", "has at least one task", "min: 1"),
    "zero pods": (at(f"{{eks: {{{NAMED}}}}}", "endpoint: {scale: {min: 0, max: 2}}\n"), "0", "has at least one pod", "min: 1"),
    "serverless crowd": (at("{sagemaker: {form: serverless}}", "endpoint: {scale: {max: 201}}\n"), "201", "takes 200 requests at once", "lower max"),
    "max below min": (at("sagemaker", "endpoint: {scale: {min: 4, max: 2}}\n"), "4", "min is 4 and max is 2", "at least min"),
    "concurrency of a fixed number": (at("sagemaker", "endpoint: {scale: {min: 2, max: 2, concurrency_per_copy: 4}}\n"), "4", "nothing scales between equal min and max", "raise max"),
    "max not said": (at("sagemaker", "endpoint: {scale: {min: 4}}\n"), "4", "min is 4 and max is 1", "at least min"),
    "steps that fall": (at("sagemaker", "endpoint: {rollout: {strategy: linear, steps: [50, 20, 100]}}\n"), "[50, 20, 100]", "steps are [50, 20, 100]", "grow and end at 100"),
    "steps without end": (at("sagemaker", "endpoint: {rollout: {strategy: canary, steps: [5, 25]}}\n"), "[5, 25]", "steps are [5, 25]", "end at 100"),
    "steps at once": (at("sagemaker", "endpoint: {rollout: {steps: [10, 100]}}\n"), "[10, 100]", "all_at_once has one step", "canary or linear"),
    "long canary": (at("sagemaker", "endpoint: {rollout: {strategy: canary, steps: [5, 25, 100]}}\n"), "[5, 25, 100]", "a canary has two steps, and this one 3", "[10, 100]"),
    "fat canary": (at("sagemaker", "endpoint: {rollout: {strategy: canary, steps: [60, 100]}}\n"), "[60, 100]", "at most 50 percent", "[10, 100]"),
    "uneven line": (at("sagemaker", "endpoint: {rollout: {strategy: linear, steps: [10, 50, 100]}}\n"), "[10, 50, 100]", "linear steps are of one size", "[25, 50, 75, 100]"),
    "thin line": (at("sagemaker", "endpoint: {rollout: {strategy: linear, steps: [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95, 100]}}\n"), "[5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95, 100]", "SageMaker's linear steps have 10 to 50 percent", "[25, 50, 75, 100]"),
    "slow line": (at("sagemaker", "endpoint: {rollout: {strategy: linear, steps: [9, 18, 27, 36, 45, 54, 63, 72, 81, 100]}}\n"), "[9, 18, 27, 36, 45, 54, 63, 72, 81, 100]", "linear steps are of one size", ""),
    "wait": (at("sagemaker", "endpoint: {rollout: {strategy: canary, wait: 2h}}\n"), "2h", "must be at most 1h", ""),
    "alarm of a rollout": (at("sagemaker", "endpoint: {rollout: {strategy: canary, rollback_on: [errors > 1]}}\n"), "errors", "no metric named 'errors'", "error_rate"),
    "shares": (at("sagemaker", "endpoint: {variants: [{release: 1, weight: 90}, {release: 2, weight: 20}]}\n"), "[{release: 1, weight: 90}, {release: 2, weight: 20}]", "the weights add up to 110", "make it 100"),
    "fractions": (at("sagemaker", "endpoint: {variants: [{release: 1, weight: 0.9}, {release: 2, weight: 10}]}\n"), "0.9", "expects a whole number", ""),
    "release twice": (at("sagemaker", "endpoint: {variants: [{release: 1, weight: 50}, {release: 1, weight: 50}]}\n"), "1", "release 1 is named twice", "once"),
    "one variant": (at("sagemaker", "endpoint: {variants: [{release: 1, weight: 99}]}\n"), "[{release: 1, weight: 99}]", "needs at least 2, and has 1", ""),
    "nobody": (at("sagemaker", "monitors: {notify: {}}\n"), "{}", "nobody is told", "email: …"),
    "plain webhook": (at("sagemaker", "monitors: {notify: {webhook: 'http://x.example'}}\n"), "'http://x.example'", "a webhook is an HTTPS address", "https://…"),
    "unquoted secret": (at("sagemaker", "monitors: {notify: {webhook: ${secret.HOOK}}}\n"), "${secret.HOOK}", "is not quoted", 'quote it: "${secret.HOOK}"'),
    "euros": (at("sagemaker", "governance: {budget: {monthly: 500 EUR}}\n"), "500 EUR", "'500 EUR' is not allowed here", "`500 USD`"),
    "a bare amount": (at("sagemaker", "governance: {budget: {monthly: 500}}\n"), "500", "expects text, got the number 500", '"500"'),
    "copy at home": (at("sagemaker", "governance: {replicate_to: eu-central-1}\n"), "eu-central-1", "is lost with eu-central-1", "another region"),
    "backup at home": (at("sagemaker", "governance: {backup: {copy_to: eu-central-1}}\n"), "eu-central-1", "is lost with eu-central-1", "another region"),
    "backup at odd hours": (at("sagemaker", "governance: {backup: {every: 5h}}\n"), "5h", "at the same hours each day", "1d or 7d"),
    "kept for hours": (at("sagemaker", "governance: {retention: {data: 36h}}\n"), "36h", "counted in whole days", "`30d`"),
    "cents": (at("sagemaker", "governance: {budget: {monthly: 99.50 USD}}\n"), "99.50 USD", "'99.50 USD' is not allowed here", "whole US dollars"),
    "isolated serverless": (at("{sagemaker: {form: serverless, network_isolation: true}}"), "true", "a serverless endpoint cannot be isolated", "form: realtime"),
    "captured serverless": (at("{sagemaker: {form: serverless, capture_percent: 5}}"), "5", "a serverless endpoint captures nothing", "the journal is kept"),
    "alarm on equality": (at("sagemaker", "monitors: {alarms: [error_rate == 1]}\n"), "==", "CloudWatch has no '=='", "use >, >=, < or <="),
    "alarm for a week": (at("sagemaker", "monitors: {alarms: [error_rate > 1% for 7d]}\n"), "error_rate > 1% for 7d", "CloudWatch looks back one day", "for 1d"),
    "odd seconds": (at("sagemaker", "monitors: {every: 90s}\n"), "90s", "CloudWatch counts whole minutes", "15m"),
    "watch of nothing": (at("lambda", "endpoint: {rollout: {rollback_on: [error_rate > 1%]}}\n"), "[error_rate > 1%]", "over in an instant at lambda", "canary or linear"),
    "half a minute": (at("lambda", "endpoint: {rollout: {strategy: canary, wait: 30s}}\n"), "30s", "CodeDeploy waits whole minutes", "wait: 5m"),
    "no name at eks": (at("{eks: {certificate: 'arn:aws:acm:eu-central-1:111122223333:certificate/a-b'}}"), "{eks: {certificate: 'arn:aws:acm:eu-central-1:111122223333:certificate/a-b'}}", "without a name nobody could ask", "domain: …"),
    "requests of a pod": (at(f"{{eks: {{{NAMED}}}}}", "endpoint: {scale: {max: 2, concurrency_per_copy: 4}}\n"), "4", "scale.concurrency_per_copy would have no effect at eks", "take it out"),
    "short backup": (at("sagemaker", "governance: {backup: {every: 7d, keep: 6d}}\n"), "6d", "gone before the next one is made", "longer than `every`"),
    "unknown check": (at("sagemaker", "governance: {waive: [{check: copys, reason: It is only a test.}]}\n"), "copys", "'copys' is not one of", "did you mean 'copies'?"),
    "waiver without a reason": (at("sagemaker", "governance: {waive: [{check: copies}]}\n"), "{check: copies}", "reason is needed", "add `reason: …`"),
    "short reason": (at("sagemaker", "governance: {waive: [{check: copies, reason: no}]}\n"), "no", "is empty", "Why"),
    "waived twice": (at("sagemaker", "governance: {waive: [{check: copies, reason: It is a test.}, {check: copies, reason: It is a test.}]}\n"), "copies", "'copies' is waived twice", "keep one"),
    "certificate": (at("{ecs: {certificate: cert.pem}}"), "cert.pem", "'cert.pem' is not allowed here", "the ARN"),
    "certificate of a job": (at("{ecs: {certificate: 'arn:aws:acm:eu-central-1:111122223333:certificate/a-b'}}", stage="features"), "'arn:aws:acm:eu-central-1:111122223333:certificate/a-b'", "certificate has no effect on features", "take it out"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_what_aws_cannot_do_is_told_with_its_place_its_fault_and_its_cure(tmp_path: Path, case: str) -> None:
    text, under, fault, cure = FAULTS[case]
    found = problems(tmp_path, text)
    told = "\n".join(map(str, found))
    (problem,) = [each for each in found if fault in each.fault] or pytest.fail(told)
    assert problem.text[problem.column - 1 : problem.column - 1 + problem.width] == under, told
    assert cure in problem.cure, told
    assert len(found) == 1, told


def loaded(folder: Path, text: str, target: str | None = None) -> Loaded:
    (folder / "shop.yaml").write_text(text)
    return load(folder / "shop.yaml", target, env={})


TAKEN = {
    "sagemaker": at("{sagemaker: {instance: ml.g5.xlarge}}", "endpoint: {scale: {min: 2, max: 4}, rollout: {strategy: linear}, variants: [{release: 1, weight: 90}, {release: 2, weight: 10}]}\n"),
    "async": at("{sagemaker: {form: async}}", "endpoint: {scale: {min: 0, max: 4}, rollout: {strategy: canary, steps: [50, 100]}}\n"),
    "serverless": at("{sagemaker: {form: serverless, memory: 6GB}}", "endpoint: {scale: {min: 0, max: 200}}\n"),
    "ecs": at(f"{{ecs: {{cpu: 16, memory: 120GB, {NAMED}}}}}", "endpoint: {scale: {min: 2, max: 9, zones: 3, concurrency_per_copy: 4}, rollout: {strategy: linear}}\n"),
    "lambda": at("{lambda: {memory: 10.24GB, timeout: 15m}}", "endpoint: {scale: {min: 0, max: 50}, rollout: {strategy: canary, wait: 1m}}\n"),
    "several answers in one request of a function": at("lambda", "endpoint: {cors: ['https://shop.example'], limits: {concurrency: 4, requests_per_minute: 60}}\n"),
    "a base from the hub at ecs, which has a way out": at("ecs", "governance: {nat_gateways: 2}\n", stage="features", head=TRAINED),
    "people at lambda": at("lambda", "endpoint: {access: {keys: cognito}}\n"),
    "eks": at(f"{{eks: {{instance: g5.xlarge, {NAMED}}}}}", "endpoint: {scale: {min: 2, max: 4}, variants: [{release: 1, weight: 50}, {release: 2, weight: 50}]}\n"),
    "a wait after all at once": at("sagemaker", "endpoint: {rollout: {wait: 7m}}\n"),
    "machines with GPUs and disks of their own": at(f"{{ecs: {{instance: g4dn.xlarge, gpus: 1, {NAMED}}}}}"),
    "emr": at("{emr: {workers: 3}}", stage="data").replace("data:\n", "data:\n  engine: spark\n"),
    "spot": at("{sagemaker: {spot: true}}", stage="model"),
    "governance": AWS + "governance: {audit: true, retention: {data: 365d, journal: 30d}, backup: {copy_to: eu-west-1}, replicate_to: eu-west-1, budget: {monthly: 99 USD}}\n",
    "deploy": AWS + "governance: {deploy: {github: acme/bot, environment: live, owner_id: 7, repository_id: 8}}\n",
    "alarms of a function": at("lambda", "monitors: {alarms: [" + ", ".join(f"error_rate > {n}%" for n in range(1, 12)) + "]}\n"),
    "monitors": AWS + 'monitors: {notify: {email: a@b.example, webhook: "${secret.HOOK}"}, dashboards: [cloudwatch]}\n',
}  # fmt: skip


@pytest.mark.parametrize("case", TAKEN)
def test_what_a_place_makes_real_is_taken(tmp_path: Path, case: str) -> None:
    spec = loaded(tmp_path, TAKEN[case]).spec
    assert type(spec).model_validate(spec.model_dump(mode="json")) == spec


def test_several_options_without_effect_are_told_at_once(tmp_path: Path) -> None:
    text = HERE + "endpoint: {scale: {max: 2}, rollout: {}}\nmonitors: {dashboards: [cloudwatch]}\nregion: eu-central-1\n"
    assert len(problems(tmp_path, text)) == 4


def test_a_place_that_does_not_fit_is_not_blamed_on_what_belongs_to_it(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, at("emr", "endpoint: {scale: {max: 4}}\ngovernance: {audit: true}\n"))
    assert problem.fault == "emr cannot do endpoint"


def test_the_same_file_is_a_laptop_s_and_the_cloud_s(tmp_path: Path) -> None:
    prod = "targets:\n  prod:\n    store: s3://acme-llm/bots\n    region: eu-central-1\n    places: {endpoint: sagemaker}\n    endpoint: {scale: {min: 2, max: 4}}\n    governance: {audit: true}\n"
    here, there = loaded(tmp_path, GOOD + prod), loaded(tmp_path, GOOD + prod, "prod")
    assert (here.spec.region, here.spec.endpoint.scale, here.spec.governance) == (None, None, None)
    assert there.spec.endpoint.scale is not None
    assert there.spec.endpoint.scale.max == 4
    assert there.at("governance.audit").endswith(":15")


def test_a_step_s_default_follows_its_strategy(tmp_path: Path) -> None:
    for strategy, steps in (("all_at_once", [100]), ("canary", [10, 100]), ("linear", [25, 50, 75, 100])):
        rollout = loaded(tmp_path, at("sagemaker", f"endpoint: {{rollout: {{strategy: {strategy}}}}}\n")).spec.endpoint.rollout
        assert rollout is not None
        assert rollout.steps == steps


def test_what_is_about_a_cloud_moves_no_key_and_no_release(tmp_path: Path) -> None:
    """Jobs have the same keys wherever they are done, and a release that asks for no copies is what it always was."""
    (tmp_path / "faq.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    (tmp_path / "shop.yaml").write_text(GOOD)
    here = Product.open(tmp_path / "shop.yaml")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "shop.yaml").write_text(
        at("sagemaker", 'governance: {audit: true}\nmonitors: {notify: {webhook: "${secret.HOOK}"}, dashboards: [cloudwatch]}\n')
    )
    there = Product.open(tmp_path / "there" / "shop.yaml")
    for stage in ("data", "features", "model", "onnx", "evaluation", "endpoint", "monitors"):
        assert here.stage(stage).keyed == there.stage(stage).keyed
    assert here.everything["endpoint"] == there.everything["endpoint"]
    assert not {"scale", "rollout", "variants"} & set(here.everything["endpoint"])


def test_a_trained_base_takes_spot_at_sagemaker_only_for_training(tmp_path: Path) -> None:
    text = at("{sagemaker: {spot: true}}", stage="model", head=TRAINED)
    assert loaded(tmp_path, text).spec.place("model").cloud == "aws"
