"""Residual generators: from an example and two classes to the change that takes it to the other class."""
