#!/usr/bin/env bash
# What a machine with an accelerator, and no network, is asked: conformance, parity, bench and run of
# PyTorch and JAX as they are installed there. It ends by itself within LIMIT seconds, whatever hangs.
#
#     tests/device/check.sh WHEELS OUTPUT [DEVICE]
#
# From the root of the checkout. WHEELS: a folder with the wheel of this package and of whatever that
# Python lacks. OUTPUT: a log of each part as it goes, summary.txt, and at the end an archive of the
# rest. DEVICE: cuda. To rehearse it where there is none:
#
#     PYTHON=VENV/bin/python WORKERS=1 SELECT=relu LIMIT=600 tests/device/check.sh WHEELS OUTPUT cpu
set -u

wheels=$1 output=$2 device=${3:-cuda}
python=$(command -v "${PYTHON:-python3}")
workers=${WORKERS:-6} select=${SELECT-} limit=${LIMIT:-540}

mkdir -p "$output"
output=$(cd "$output" && pwd)
rest=$(mktemp -d)
backends=(--backend torch,jax --python "torch=$python" --python "jax=$python")
small=(mnist-mlp mnist-lenet5)

export COLUMNS=300                          # or pytest cuts a failure's reason
export XDG_CACHE_HOME=$rest/cache           # certificates are obtained, not found
export XLA_PYTHON_CLIENT_PREALLOCATE=false  # or the first process takes the device's memory
export TORCHINDUCTOR_COMPILE_THREADS=1      # or each process starts as many as there are cores

# part SECONDS "LOG WHAT" COMMAND...: the summary gets a line of how it went.
part() {
  local seconds=$1 name=$2 log=$output/${2%% *}.log began=$SECONDS code grace
  shift 2
  seconds=$((seconds < limit - SECONDS ? seconds : limit - SECONDS))
  grace=$((seconds / 5))
  echo "\$ $*" >>"$log"
  if ((seconds > 0)); then
    # SIGINT, and time for a report of what was done; bash has it ignored by what runs beside it.
    timeout -s INT -k "$grace" $((seconds - grace)) env --default-signal=INT "$@" >>"$log" 2>&1
    code=$?
  else
    code="none, as no time was left,"
  fi
  echo "$name: exit $code after $((SECONDS - began)) s" | tee -a "$output/summary.txt"
}

bakeoff() { part "$1" "$2" "$python" -P -m bakeoff.bench.cli "${@:3}"; }

# suite "LOG WHAT" BACKEND PROCESSES ARGUMENTS...: tests of conformance on the device.
suite() {
  part 210 "$1" env OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NPROC=1 \
    "$python" -m pytest --backend "$2" --device "$device" -n "$3" "${@:4}" \
    -v -rfE --tb=short --show-capture=no -p no:cacheprovider -o filterwarnings=default \
    --junit-xml="$rest/${1// /-}.xml"
}

part 60 "machine wheels" "$python" -m pip install --quiet --no-index --no-deps --force-reinstall \
  "$wheels"/*.whl
part 10 "machine before" nvidia-smi
bakeoff 30 "machine doctor" doctor

# What takes longest, a test of many random models, is not left for the end.
random=(tests/conformance/test_no_false_alarm.py tests/conformance/test_random_models.py)
rest_of_it=(tests/conformance --ignore=tests/conformance/test_findings.py "${random[@]/#/--ignore=}")
for backend in torch jax; do
  suite "random-models $backend" "$backend" 2 "${random[@]}" &
  suite "conformance-$backend" "$backend" "$workers" "${rest_of_it[@]}" -k "$select" &
done
wait

bakeoff 130 "parity" parity "${small[@]}" transformer-tiny "${backends[@]}" \
  --device "$device" --output "$rest/parity"
for workload in "${small[@]}"; do
  bakeoff 90 "speed bench-$workload" bench "$workload" "${backends[@]}" --mode eager,compiled \
    --device "$device" --budget 10s --output "$rest/bench-$workload"
done
bakeoff 60 "speed run" run "${small[@]}" "${backends[@]}" \
  --device "$device" --seeds 1 --epochs 2 --output "$rest/run"
bakeoff 25 "speed bench-cpu" bench "${small[@]}" --backend torch --python "torch=$python" \
  --device cpu --budget 5s --no-parity --output "$rest/bench-cpu"
part 10 "machine after" nvidia-smi

tar -czf "$output/rest.tar.gz" -C "$rest" --exclude=./cache --exclude=inputs --exclude='*.npz' .
rm -r "$rest"
grep -hE '^(FAILED|ERROR) ' "$output"/{conformance,random}-*.log
! grep -v '^machine' "$output/summary.txt" | grep -qv ': exit 0 '
