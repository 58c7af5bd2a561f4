"""Tests of transformers that cannot apply to a family: patterns of their names, and why.

Most of them skip themselves, the others fail. They are not collected, but one test for each family runs them all and
fails if one passes: see listing.py.
"""


def pipelines(tasks: str, reason: str) -> dict[str, str]:
    """The tests of some pipelines, in single and in half precision."""
    return {f"test_pipeline_{task}{precision}": reason for task in tasks.split() for precision in ("", "_fp16")}


MEDIA = pipelines(
    "any_to_any audio_classification automatic_speech_recognition depth_estimation document_question_answering "
    "image_classification image_feature_extraction image_segmentation image_text_to_text mask_generation "
    "object_detection text_to_audio video_classification zero_shot_audio_classification "
    "zero_shot_image_classification zero_shot_object_detection",
    "for models of images, sound or video",
)
EXPERTS = (
    "test_eager_matches_batched_and_grouped_inference_*",
    "test_fsdp2_expert_parallel_*",
    "test_hsdp_grad_accumulation_vs_single_device_2_expert_parallel",
    "test_moe_*",
    "test_output_router_logits_from_config",
)
COMPOSITES = (
    "test_attn_implementation_composite_models",
    "test_can_set_attention_dynamically_composite_model",
    "test_flash_attn_*_can_dispatch_composite_models",
    "test_internal_model_config_and_subconfig_are_same",
    "test_sdpa_can_dispatch_composite_models",
)
CONVERSIONS = ("test_can_load_from_already_mapped_keys", "test_reverse_loading_mapping")
ACCELERATORS = (
    "test_can_load_with_device_context_manager",
    "test_can_load_with_global_device_set",
    "test_cpu_offload",
    "test_disk_offload_*",
    "test_flash_attn_*_equivalence*",
    "test_flash_attn_*_from_config",
    "test_flash_attn_2_can_compile_*",
    "test_flash_attn_2_fp32_ln",
    "test_flex_attention_with_grads",
    "test_kernels_can_load_without_crashing",
    "test_model_parallelism",
    "test_resize_*_with_deepspeed*",
    "test_sdpa_can_compile_dynamic",
    "test_sdpa_can_dispatch_on_flash",
    "test_torch_compile_for_training",
)
EVERYWHERE = {
    **MEDIA,
    **dict.fromkeys(EXPERTS, "for mixtures of experts"),
    **dict.fromkeys(COMPOSITES, "for models made of models that have configurations of their own"),
    **dict.fromkeys(CONVERSIONS, "for models whose parameters have other names on disk than in memory"),
    **dict.fromkeys(ACCELERATORS, "needs an accelerator or its kernels; all tests here run on the CPU"),
    **pipelines("table_question_answering", "for models of tables"),
    "test_vision_axial_rope": "for models of images",
    "test_eager_matches_sdpa_inference_24_fp32_pad_left_output_attentions": "looks for output_attentions in the type "
    "hints of forward; test_attention_outputs runs",
    "test_model_rope_scaling_frequencies": "looks for a module of the name rotary_emb; here it is one of the position "
    "schemes, and tests/modeling/test_positions.py compares its angles with transformers' own",
    "test_resize_position_vector_embeddings": "the table of positions has a fixed size",
    "test_sliding_window_mask": "asks for the switch use_sliding_window; bands belong to layers, in attention_pattern",
}
NOT_ROTARY = dict.fromkeys(
    ("test_model_rope_scaling_from_config_*", "test_model_rope_with_partial_rotation"),
    "the positions of this configuration are not rotary",
)
ALL_IN_ONE_PRECISION = {"test_keep_in_fp32_modules*": "no part is kept in float32 when the others are not"}
DECODER = {
    **EVERYWHERE,
    **ALL_IN_ONE_PRECISION,
    **pipelines("fill_mask", "a decoder has no masks to fill"),
    "test_encoder_decoder_loss_no_double_shift": "for encoder-decoders",
}

ENCODER_DECODER = {
    **EVERYWHERE,
    **NOT_ROTARY,
    **pipelines(
        "feature_extraction fill_mask text_generation token_classification", "not a task of an encoder-decoder"
    ),
    "test_can_capture_specific_layers_hidden_states": "looks for hidden_states; an encoder-decoder has those of "
    "either side",
    "test_causal_lm_loss_honors_shift_labels": "for decoders",
    "test_tp_forward_*": "gives the decoder no input; test_tp_backward compares the loss",
}

INAPPLICABLE = {
    "encoder-decoder": {**ENCODER_DECODER, **ALL_IN_ONE_PRECISION},
    "relative encoder-decoder": ENCODER_DECODER,
    "encoder": {
        **EVERYWHERE,
        **ALL_IN_ONE_PRECISION,
        **NOT_ROTARY,
        **pipelines("text_generation", "an encoder does not generate"),
        "test_causal_lm_loss_honors_shift_labels": "for decoders",
        "test_encoder_decoder_loss_no_double_shift": "for encoder-decoders",
        "test_tp_generation*": "an encoder does not generate",
    },
    "decoder": {**DECODER, **NOT_ROTARY},
    "rotary decoder": {
        **DECODER,
        "test_model_rope_with_partial_rotation": "rotates part of a head only where the configuration does already",
    },
}

# Tests that may skip themselves where a package of the extra `integrations` is absent.
OPTIONAL = {"test_tp_generation_quantized": "torchao"}

# Tests of several seconds, or of several processes.
SLOW = (
    "test_bc_torch_dtype",
    "test_fsdp2_*",
    "test_hsdp_*",
    "test_tp_backward",
    "test_tp_forward*",
    "test_tp_generation*",
    "test_training_overfit",
)
