#!/usr/bin/env bash
# Builds and pushes the images that have a repository: SERVING_REPOSITORY and TRAINING_REPOSITORY are ECR addresses, TAG names the
# source. A tag that is there already is left as it is: the same source needs no second image, and a retry pushes nothing twice.
# SPARK_ARCHIVES is the folder in S3 for what Spark at EMR unpacks, under the same tag. ONLY names one of serving, training and spark,
# where the others are not wanted.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${TAG:?names what is built: the digest of the source bundle}"
case "${ONLY:=}" in "" | serving | training | spark) ;; *) echo "ONLY is serving, training or spark, and not $ONLY" >&2; exit 2 ;; esac
[ -n "${SERVING_REPOSITORY:-}${TRAINING_REPOSITORY:-}" ] || { echo "neither SERVING_REPOSITORY nor TRAINING_REPOSITORY is set" >&2; exit 2; }

# With an attestation beside it an image is pushed as an index, which neither Lambda nor SageMaker takes.
export BUILDX_NO_DEFAULT_ATTESTATIONS=1

wanted() { [ -z "$ONLY" ] || [ "$ONLY" = "$1" ]; }

image() { # NAME REPOSITORY BUILD-ARG…
  local name=$1 repository=$2
  shift 2
  [ -n "$repository" ] && wanted "$name" || return 0
  if aws ecr describe-images --repository-name "${repository#*/}" --image-ids "imageTag=$TAG" >/dev/null 2>&1; then
    echo "$name: $repository:$TAG is there already"
    return 0
  fi
  aws ecr get-login-password | docker login --username AWS --password-stdin "${repository%%/*}"
  docker build --file "containers/$name.Dockerfile" --tag "$repository:$TAG" "$@" .
  docker push "$repository:$TAG"
}

image serving "${SERVING_REPOSITORY:-}" ${SERVING_BASE:+--build-arg "BASE=$SERVING_BASE"} ${SERVING_EXTRA:+--build-arg "EXTRA=$SERVING_EXTRA"}
image training "${TRAINING_REPOSITORY:-}" --build-arg "RUN_AS=${TRAINING_RUN_AS:-0:0}" ${TORCH_INDEX:+--build-arg "TORCH_INDEX=$TORCH_INDEX"}

if [ -n "${SPARK_ARCHIVES:-}" ] && wanted spark; then
  archive="$SPARK_ARCHIVES/spark-$TAG.tar.gz"
  if aws s3 ls "$archive" >/dev/null 2>&1; then
    echo "spark: $archive is there already"
  else
    made=$(mktemp -d)
    DOCKER_BUILDKIT=1 docker build --file containers/spark.Dockerfile --output "$made" .
    aws s3 cp --only-show-errors "$made/spark.tar.gz" "$archive"
  fi
fi
