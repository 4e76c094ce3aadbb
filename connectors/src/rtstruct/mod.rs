//! RTSTRUCT: outlines as records, rasterised on a geometry, and written.
