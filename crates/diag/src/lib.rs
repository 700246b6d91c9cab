//! Diagnostics: source map, spans, rendering.
