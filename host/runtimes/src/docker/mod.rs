//! Containers through the Docker Engine.
