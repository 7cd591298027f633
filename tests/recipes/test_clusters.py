"""recipes/slurm, skypilot and kubernetes: their scripts, run on this machine.

The variables that the cluster's software would set are set here, with one process in place of the
GPUs of a node, and the nodes are started on the loopback address.
"""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from tests.ports import free_port
from tests.recipes.cluster_schemas import JOB, SERVICE, SKYPILOT
from tests.recipes.two_nodes import clean_environment

RECIPES = Path(__file__).parents[2] / "recipes"
SLURM = RECIPES / "slurm" / "train.sh"
KUBERNETES = {1: RECIPES / "kubernetes/one-node.yaml", 2: RECIPES / "kubernetes/two-nodes.yaml"}
SKY = RECIPES / "skypilot" / "train.yaml"
# Starts the command once for each node, and returns the highest status, as srun does.
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do echo "$1" >> "$FOLDER/srun"; shift; done
for ((node = 0; node < SLURM_JOB_NUM_NODES; node++)); do
  SLURM_NODEID=$node "$@" & pids+=($!)
done
highest=0
for pid in "${pids[@]}"; do
  status=0; wait "$pid" || status=$?
  if ((status > highest)); then highest=$status; fi
done
exit "$highest"
"""
SCONTROL = """#!/bin/bash
echo "$*" >> "$FOLDER/scontrol"
if [[ $1 == show ]]; then printf '%s\\n' 127.0.0.1 second; fi
"""
SHOW_WORDS = f"""#!{sys.executable}
import os, sys
words = sys.argv[1:]
rank = words[words.index("--machine_rank") + 1] if "--machine_rank" in words else ""
with open(os.environ["FOLDER"] + "/words-" + rank, "w") as file:
    file.write("\\n".join(words))
sys.exit(int(os.environ.get("STATUS", 0)))
"""
RUN_RLHF = f"""#!/bin/bash
exec {sys.executable} -m rlhf.cli "$@"
"""
WORLD = """
import os, sys
from rlhf.runtime.distributed import start_processes
from rlhf.runtime.entrypoint import run
from rlhf.runtime.nodes import node_name
from rlhf.runtime.signals import Stopped

def main():
    world = start_processes(1)
    node = node_name().split(",")[0]
    sys.stdout.write(f"rank {os.environ.get('RANK', 0)} of {world} on {node}, {sys.argv[1:]}\\n")
    sys.stdout.flush()
    if "stop" in sys.argv:
        raise Stopped("stopped after a checkpoint")

run(main)
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a script, and programs of a cluster in bin/."""
    (tmp_path / "bin").mkdir()
    for name, text in {"srun": SRUN, "scontrol": SCONTROL, "rlhf": SHOW_WORDS}.items():
        write_program(tmp_path / "bin" / name, text)
    (tmp_path / "world.py").write_text(WORLD)
    return tmp_path


def write_program(path, text):
    path.write_text(text)
    path.chmod(0o755)


def environment(folder, **variables):
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return clean_environment() | {"PATH": path, "FOLDER": str(folder)} | variables


def job_id_of_free_port():
    """The number of a Slurm job whose port, 20000 + number % 10000, is free."""
    for number in range(os.getpid() % 9000, 10000):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", 20000 + number))
            except OSError:
                continue
            return number
    raise AssertionError("no free port")


def slurm(folder, nodes, words):
    """[(command, environment)] of the batch script on the first node."""
    variables = {
        "SLURM_JOB_ID": str(job_id_of_free_port()),
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_NUM_NODES": str(nodes),
        "SLURM_GPUS_ON_NODE": "1",
        "SLURM_CPUS_PER_TASK": "1",
    }
    return [(["bash", str(SLURM), *words], environment(folder, **variables))]


def skypilot(folder, nodes, words):
    """The same of each node: SkyPilot runs `run` with the variables of `envs` on every node."""
    task = yaml.safe_load(SKY.read_text())
    variables = task["envs"] | {
        "ARGUMENTS": " ".join(words),
        "MAIN_PORT": str(free_port()),
        "SKYPILOT_NUM_NODES": str(nodes),
        "SKYPILOT_NUM_GPUS_PER_NODE": "1",
        "SKYPILOT_NODE_IPS": "127.0.0.1\n127.0.0.2",
    }
    ranks = [{"SKYPILOT_NODE_RANK": str(rank)} for rank in range(nodes)]
    command = ["bash", "-c", task["run"]]
    return [(command, environment(folder, **variables, **rank)) for rank in ranks]


def kubernetes(folder, nodes, words):
    """The same of each pod of the Job, with a local address and one GPU."""
    (container,) = job_of(nodes)["spec"]["template"]["spec"]["containers"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    variables |= {"GPUS_PER_NODE": "1"}
    if nodes > 1:
        variables |= {"MAIN_ADDRESS": "127.0.0.1", "MAIN_PORT": str(free_port())}
    return [
        (
            [*container["command"], *words],
            environment(folder, **variables, JOB_COMPLETION_INDEX=str(rank)),
        )
        for rank in range(nodes)
    ]


CLUSTERS = {"slurm": slurm, "skypilot": skypilot, "kubernetes": kubernetes}


def run_nodes(folder, commands):
    """Run the commands of all nodes at once; their statuses and all that they print."""
    processes = [
        subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command, variables in commands
    ]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    return [process.returncode for process in processes], "".join(outputs)


def job_of(nodes):
    *_, job = yaml.safe_load_all(KUBERNETES[nodes].read_text())
    return job


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("cluster", CLUSTERS)
def test_each_node_gets_its_rank_and_the_address_of_the_first(folder, cluster, nodes):
    words = ["recipes/ppo.py", "--config", "a.yaml"]
    commands = CLUSTERS[cluster](folder, nodes, words)
    statuses, printed = run_nodes(folder, commands)
    assert not any(statuses), printed
    if cluster == "kubernetes" and nodes == 1:
        lines = (folder / "words-").read_text().split()
        assert lines == ["launch", "--num_processes", "1", *words]
        return
    for rank in range(nodes):
        options = iter((folder / f"words-{rank}").read_text().split())
        assert next(options) == "launch"
        found = {next(options): next(options) for _ in range(5)}
        assert list(options) == words
        port = found.pop("--main_process_port")
        assert 1024 < int(port) < 65536
        assert found == {
            "--num_machines": str(nodes),
            "--machine_rank": str(rank),
            "--main_process_ip": "127.0.0.1",
            "--num_processes": str(nodes),
        }


in_suite = pytest.param("slurm")
others = [pytest.param(name, marks=pytest.mark.slow) for name in ("skypilot", "kubernetes")]


@pytest.mark.parametrize("cluster", [in_suite, *others])
def test_two_nodes_form_one_run(folder, cluster):
    """With the real launcher; an argument with a space arrives as one where the shell allows it."""
    write_program(folder / "bin" / "rlhf", RUN_RLHF)
    word = "two" if cluster == "skypilot" else "two words"
    statuses, printed = run_nodes(folder, CLUSTERS[cluster](folder, 2, ["world.py", word]))
    assert not any(statuses), printed
    found = set(re.findall(r"rank (\d) of 2 on node (\d), \['([\w ]+)'\]", printed))
    assert found == {("0", "0", word), ("1", "1", word)}


@pytest.mark.slow
@pytest.mark.parametrize("cluster", CLUSTERS)
def test_one_node_is_a_run_of_its_own(folder, cluster):
    write_program(folder / "bin" / "rlhf", RUN_RLHF)
    statuses, printed = run_nodes(folder, CLUSTERS[cluster](folder, 1, ["world.py"]))
    assert statuses == [0], printed
    assert "rank 0 of 1" in printed


@pytest.mark.parametrize(("status", "requeued"), [(75, True), (1, False), (2, False), (0, False)])
def test_slurm_job_is_queued_again_after_a_checkpoint_only(folder, status, requeued):
    [(command, variables)] = slurm(folder, 2, ["recipes/ppo.py"])
    statuses, _ = run_nodes(folder, [(command, variables | {"STATUS": str(status)})])
    assert statuses == [status]
    calls = (folder / "scontrol").read_text().splitlines()
    assert calls[0] == "show hostnames node[1-2]"
    assert (f"requeue {variables['SLURM_JOB_ID']}" in calls) is requeued


@pytest.mark.slow
def test_real_statuses_reach_slurm(folder):
    """Both launchers return 75, and so does the job."""
    write_program(folder / "bin" / "rlhf", RUN_RLHF)
    statuses, printed = run_nodes(folder, slurm(folder, 2, ["world.py", "stop"]))
    assert statuses == [75], printed
    assert printed.count("stopped after a checkpoint") == 2  # once on each node
    assert "requeue" in (folder / "scontrol").read_text()


def test_slurm_options_are_complete():
    """Each is one that sbatch has; SIGTERM comes early enough for a checkpoint."""
    options = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", SLURM.read_text(), re.MULTILINE))
    assert options["ntasks-per-node"] == options["nodes"] == "1"
    assert options["signal"] == "TERM@600"
    assert options.keys() == {
        *("job-name", "nodes", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "time"),
        *("signal", "requeue", "open-mode", "output"),
    }


def scripts():
    """The shell code of all cluster files, by name."""
    task = yaml.safe_load(SKY.read_text())
    code = {"slurm": SLURM.read_text(), "setup": task["setup"], "run": task["run"]}
    for nodes in KUBERNETES:
        (container,) = job_of(nodes)["spec"]["template"]["spec"]["containers"]
        code[f"kubernetes {nodes}"] = container["command"][2]
    return code


@pytest.mark.parametrize("name", scripts())
def test_shell_code_is_valid(name):
    done = subprocess.run(["bash", "-n"], input=scripts()[name], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_files_have_only_keys_that_the_tools_know():
    of_kind = {"Job": JOB, "Service": SERVICE}
    documents = [(SKYPILOT, yaml.safe_load(SKY.read_text()))]
    for path in KUBERNETES.values():
        each = yaml.safe_load_all(path.read_text())
        documents += [(of_kind[document["kind"]], document) for document in each]
    assert len(documents) == 4
    for schema, document in documents:
        errors = jsonschema_rs.validator_for(schema).iter_errors(document)
        assert not [f"{list(error.instance_path)}: {error.message}" for error in errors]


@pytest.mark.parametrize("nodes", KUBERNETES)
def test_names_within_kubernetes_files_belong_together(nodes):
    *services, job = yaml.safe_load_all(KUBERNETES[nodes].read_text())
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert spec["completions"] == spec["parallelism"] == nodes
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in pod["volumes"]
    }
    values = {entry["name"]: entry["value"] for entry in container["env"]}
    assert int(values["GPUS_PER_NODE"]) == container["resources"]["limits"]["nvidia.com/gpu"]
    assert len(services) == nodes - 1
    for service in services:
        name = service["metadata"]["name"]
        assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
        assert pod["subdomain"] == name
        assert spec["completionMode"] == "Indexed"
        assert values["MAIN_ADDRESS"] == f"{job['metadata']['name']}-0.{name}"
        assert int(values["NUM_NODES"]) == nodes
        assert {"containerPort": int(values["MAIN_PORT"])} in container["ports"]


@pytest.mark.parametrize("nodes", KUBERNETES)
def test_arguments_of_the_pods_are_keys_of_ppo(nodes, tmp_path, monkeypatch):
    from rlhf.runtime.config import parse_config
    from rlhf.training.ppo.settings import PPO_CLASSES

    (container,) = job_of(nodes)["spec"]["template"]["spec"]["containers"]
    dash_m, module, *words = container["args"]
    assert (dash_m, module) == ("-m", "rlhf.recipes.ppo")
    keys = {"model_name_or_path": "m", "reward": ["r"], "train_data": "x.jsonl", "max_steps": 1}
    (tmp_path / "ppo.yaml").write_text(json.dumps(keys))
    monkeypatch.chdir(tmp_path)
    run, *_ = parse_config(*PPO_CLASSES, description=None, argv=words)
    assert (run.output_dir, run.resume_from_checkpoint) == ("ppo", "latest")
