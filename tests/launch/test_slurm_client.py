from minilingua.launch.slurm_client import _environment, _gpus


def test_gpus_are_counted_as_a_cluster_accounts_for_them() -> None:
    assert _gpus({"cpu": "8", "gres/gpu": "4", "gres/gpu:h200": "4"}) == 4
    assert _gpus({"gres/gpu:h200": "2", "gres/gpu:a100": "1", "node": "1"}) == 3
    assert _gpus({"cpu": "8"}) == 0


def test_a_job_submits_another_without_its_own_options() -> None:
    inside = {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "7", "SLURM_CONF": "/etc/x", "PATH": "/bin"}
    assert _environment(inside) == {"SLURM_CONF": "/etc/x", "PATH": "/bin"}
