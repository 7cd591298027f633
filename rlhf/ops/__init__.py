"""Pure tensor maths: tensors and scalars in, tensors out."""
