"""The ROADEF/EURO challenge 2012 on the product's reassignment solver: official files in, official files out."""
