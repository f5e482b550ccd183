"""What every lab uses: runs of arms and seeds, results, claims, figures, notebook. It knows no lab."""
