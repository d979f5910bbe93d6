"""Rewards: pure batched functions over rollouts, chosen and weighted by name in a recipe.

A recipe lists them under ``rewards:``, each with a weight and options::

    rewards:
      - {name: format, weight: 1}
      - {name: accuracy, weight: 1, options: {threshold: 0.5}}
      - {name: judged, weight: 0.5}
      - {name: guards, weight: 1}

| name | formula | source | needs |
|---|---|---|---|
| format | +0.5 if the tags are there in order, else −0.5 | FastReasonSeg, section 3 | nothing; option ``needs``: tags beside the answer |
| accuracy | [IoU > 0.5] | FastReasonSeg, section 3 | a truth |
| judged | the judge's score in [0, 1] (weight gamma = 0.5) | FastReasonSeg, section 3 | ``judge:`` in the recipe |
| self_distillation | cos(rationale, explanation) · max(0, 1 − len_c / len_d) · [IoU > 0.5] | WISE, equations 4–7 | ``sampling.explain``; option ``embedder``: ``hashed``, a folder or a pinned hub id |
| description | [IoU of the second answer > 0.5] | DR2Seg, equation 2 | ``sampling.second``, mode ``description`` |
| gated_length | clip([N2 < N1] − 0.05 · max(0, N1 − 40), 0, 1); 1 if the whole group is wrong; a factor of the sum | DR2Seg, equations 5, 7, 8 | as description |
| semantic | mean image-text similarity of the answered objects and the question | RISE, equation 5 | pictures, no truth; option ``similarity``: ``embedded`` (OWLv2), CLIP by folder or pinned hub id |
| matched_accuracy | pairs of objects with IoU > 0.5 / max(answered, true) | VisionReasoner | a truth |
| non_repeat | [no sentence of the rationale comes twice] | VisionReasoner | nothing |
| l1_exact | [IoU > 0.5] − alpha · abs(target − n), at least −1 | L1 (Aggarwal and Welleck 2025) | a truth; in place of accuracy |
| l1_max | [IoU > 0.5] · clip(alpha · (target − n) + delta, 0, 1) | L1 (Aggarwal and Welleck 2025) | a truth; in place of accuracy |
| counterfactual | [IoU > 0.5] · share of changed scenes on which the plan gives what the reference's gives | ours, see :mod:`.counterfactual` | simulated questions |
| guards | −1 where a guard fires, and nothing positive beside it | ours, see :mod:`.guards` | nothing |

How they become one number, and what None means, stands in :mod:`.choose`; its ``COMBINATIONS``
are the papers' sums. ``N`` and ``len`` are tokens by the policy's own tokenizer. What tricks are
paid is shown by :func:`.adversaries.adversarial_table`: with the guards, the honest rollout earns
more than every trick under every combination; without them some trick earns as much under each.

Known limits: ``semantic`` sees what an object is and not where it stands; ``hashed`` embeddings
compare wording, not meaning; a judge can be talked into things that no guard knows.
"""
