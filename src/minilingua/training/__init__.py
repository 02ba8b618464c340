"""Fine-tuning with megatron-core.

worker ─► run key ─► run directory (lock) ─► engine ─► loop ─► publish
                                              ▲          │
              plan, tokens ─► batches ────────┼──────────┤ step ─► evaluation ─► decision
              models/base ────────────────────┘          └► checkpoints, events, telemetry
"""
