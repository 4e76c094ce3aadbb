//! A detector against torchvision, in double precision (`tests/golden/rcnn`).
