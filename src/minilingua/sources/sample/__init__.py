"""The generated sample: real data in miniature.

    subjects.yaml ─► facts ─┐
    CLDR (Babel) ───────────┼► statements ─► draw (language, wording, source) ─► native layouts
    wordings/*.yaml ────────┘

True facts that CLDR ships, asked in thirteen languages, written as each source publishes its data,
with the oddities the real files have. Everything follows from the root seed.
"""
