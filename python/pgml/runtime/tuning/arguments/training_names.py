"""What `training_args` may be called: former names, names without effect here, names that are refused and why.

Data only. Which fields there are is read from `transformers.TrainingArguments`, see `training_args.py`; those of a
push to the Hub are in `push_args.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "gradient_checkpointing": "activation_checkpointing",
    "gradient_checkpointing_kwargs": "activation_checkpointing_kwargs",
    "no_cuda": "use_cpu",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "xpu_backend": "ddp_backend",
}

# Former names whose values changed too. None as the new value: the setting says what is done anyway.
REPLACED: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "adafactor": ("optim", "boolean", lambda value: "adafactor" if value else None),
    "evaluate_during_training": ("eval_strategy", "boolean", lambda value: "steps" if value else None),
    "group_by_length": ("train_sampling_strategy", "boolean", lambda value: "group_by_length" if value else None),
    "warmup_ratio": ("warmup_steps", "ratio", lambda value: value or None),
}

ONE_PROCESS = "a job is one process"
STORED = "the model goes to pgml.files, its logs to pgml.logs"
GONE = "transformers dropped them"
ALWAYS = "pgml.tune always does the same here"

# Taken, because scripts have them, and without effect.
IGNORED = {
    **dict.fromkeys(
        """dispatch_batches fp16_backend fp16_opt_level half_precision_backend include_inputs_for_metrics
        include_tokens_per_second jit_mode_eval mp_parameters overwrite_output_dir past_index ray_scope save_safetensors
        sharded_ddp split_batches torchdynamo tpu_metrics_debug tpu_num_cores use_ipex use_legacy_prediction_loop
        use_mps_device""".split(),
        GONE,
    ),
    **dict.fromkeys(
        """average_tokens_across_devices ddp_backend ddp_broadcast_buffers ddp_bucket_cap_mb ddp_find_unused_parameters
        ddp_static_graph ddp_timeout eval_use_gather_object local_rank log_level_replica log_on_each_node
        save_on_each_node""".split(),
        ONE_PROCESS,
    ),
    **dict.fromkeys(
        "logging_dir output_dir project run_name trackio_bucket_id trackio_space_id trackio_static_space_id".split(),
        STORED,
    ),
    **dict.fromkeys(
        """batch_eval_metrics disable_tqdm do_eval do_predict do_train eval_do_concat_batches ignore_data_skip
        include_for_metrics label_names length_column_name log_level logging_nan_inf_filter remove_unused_columns
        restore_callback_states_from_checkpoint skip_memory_metrics""".split(),
        ALWAYS,
    ),
}

SEVERAL_DEVICES = "a job trains in one process"

# Refused unless switched off (null, false, "none", empty): to leave them out silently would do something else.
REFUSED = {
    **dict.fromkeys("deepspeed fsdp fsdp_config parallelism_config".split(), SEVERAL_DEVICES),
    "debug": "it prints to the console of a program",
    "enable_jit_checkpoint": "it takes the signal that cancels a job",
    "prediction_loss_only": "accuracy and F1 are computed from the predictions",
    "report_to": "metrics go to pgml.logs only",
    "use_liger_kernel": "its package is not installed with the runtime",
    "liger_kernel_config": "its package is not installed with the runtime",
}

# Optimizers that need a package of their own, by a part of their name; the first that fits.
OPTIMIZER_PACKAGES = {
    "galore": "galore_torch",
    "apollo": "apollo_torch",
    "lomo": "lomo_optim",
    "grokadamw": "grokadamw",
    "schedule_free": "schedulefree",
    "stable_adamw": "optimi",
    "anyprecision": "torchdistx",
    "torch_4bit": "torchao",
    "torch_8bit": "torchao",
    "torch_xla": "torch_xla",
    "torch_npu": "torch_npu",
    "bnb": "bitsandbytes",
    "8bit": "bitsandbytes",
    "32bit": "bitsandbytes",
    "ademamix": "bitsandbytes",
}
